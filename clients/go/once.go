package deja

import (
	"context"
	"errors"
	"reflect"
	"sync"
)

const refreshersMax = 4

// place is what at most one goroutine makes at a time.
type place struct {
	namespace, user, key string
	of                   reflect.Type
	anew                 bool
}

type flight struct {
	cancel   context.CancelFunc
	done     chan struct{} // closed once the members below it are set
	value    any
	err      error
	panicked any
	waiting  int // under the mutex of flights
}

type flights struct {
	mutex      sync.Mutex
	running    map[place]*flight
	refreshing int
}

// join finds the flight of a place, or begins it.
func (fs *flights) join(ctx context.Context, at place, work func(context.Context) (any, error)) *flight {
	fs.mutex.Lock()
	defer fs.mutex.Unlock()
	f := fs.running[at]
	if f == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		fs.running[at] = f
		go fs.fly(ctx, at, f, work)
	}
	f.waiting++
	return f
}

func (fs *flights) fly(ctx context.Context, at place, f *flight, work func(context.Context) (any, error)) {
	f.err = errors.New("deja: the function ended its goroutine") // unless it returns
	defer func() {
		f.panicked = recover()
		fs.mutex.Lock()
		fs.remove(at, f)
		fs.mutex.Unlock()
		f.cancel()
		close(f.done)
	}()
	f.value, f.err = work(ctx)
}

func (fs *flights) remove(at place, f *flight) {
	if fs.running[at] == f {
		delete(fs.running, at)
	}
}

// leave: who goes ends nothing for the others; the last one ends it.
func (fs *flights) leave(at place, f *flight) {
	fs.mutex.Lock()
	defer fs.mutex.Unlock()
	if f.waiting--; f.waiting == 0 {
		fs.remove(at, f)
		f.cancel()
	}
}

// once has work done by the first who comes for a key; the others wait for what that comes to.
func once[T any](ctx context.Context, c *Client, key string, anew bool, work func(context.Context) (T, error)) (T, error) {
	var none T
	at := place{c.options.Namespace, c.options.User, key, reflect.TypeOf(&none), anew}
	f := c.flights.join(ctx, at, func(ctx context.Context) (any, error) { return work(ctx) })
	defer c.flights.leave(at, f)
	select {
	case <-f.done:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if f.panicked != nil {
		panic(f.panicked)
	}
	value, _ := f.value.(T) // a nil of an interface type is none
	return value, f.err
}

// behind has work done while nobody waits, unless it is being done or enough is done that way already:
// who asks next tries again.
func behind[T any](ctx context.Context, c *Client, key string, work func(context.Context) (T, error)) {
	fs := c.flights
	fs.mutex.Lock()
	defer fs.mutex.Unlock()
	if fs.refreshing == refreshersMax {
		return
	}
	fs.refreshing++
	go func() {
		defer func() {
			fs.mutex.Lock()
			fs.refreshing--
			fs.mutex.Unlock()
		}()
		_, err := once(context.WithoutCancel(ctx), c, key, true, work)
		c.guard(err) // the value that was there is still served
	}()
}
