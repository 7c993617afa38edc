package deja

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"
)

const (
	lease = 30 * time.Second
	pause = 50 * time.Millisecond // between two looks for what another process makes
)

// Rules say how what a function returns for an argument of type A is kept. Several arguments are a
// struct.
type Rules[A any] struct {
	Key       func(A) string   // of all that the value depends on; see the function Key
	TTL       time.Duration    // else as the server has it
	Tags      func(A) []string // for what changes together
	DependsOn func(A) []string // keys whose invalidation with cascade takes this one along
	Condition func(A) bool     // only where it is true is the cache used
	KeepNil   bool             // nil is kept, too: that there is none is worth knowing
	Semantic  bool             // the key is a question, and one of the same meaning answers it
	// RefreshAhead of 0.2: in the last fifth of its life a value is returned and made anew behind.
	RefreshAhead float64
	// AcrossProcesses: of all processes that use this cache one computes, the others wait for it.
	AcrossProcesses bool
}

// Key joins parts with ":". What they hold is escaped, so that none reaches the syntax of keys, patterns
// and lists of tags.
func Key(parts ...any) string {
	var made strings.Builder
	for i, part := range parts {
		if i > 0 {
			made.WriteByte(':')
		}
		for _, c := range []byte(fmt.Sprint(part)) {
			if c < 0x20 || strings.IndexByte(`%*?[]\:{},`, c) >= 0 {
				fmt.Fprintf(&made, "%%%02X", c)
			} else {
				made.WriteByte(c)
			}
		}
	}
	return made.String()
}

func (r Rules[A]) check() {
	if r.Key == nil {
		panic("deja: Rules need a Key: what is a value kept under?")
	}
	if r.RefreshAhead != 0 && (r.Semantic || r.TTL <= 0 || r.RefreshAhead < 0 || r.RefreshAhead >= 1) {
		panic("deja: RefreshAhead is the part of a life, 0 to 1, at whose end a value is made anew: it needs a TTL")
	}
}

func isNil(value any) bool {
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	}
	return false
}

// read looks for the value; ageing: it is worth making anew.
func read[A, T any](ctx context.Context, c *Client, r *Rules[A], key string) (value T, found, ageing bool, err error) {
	if r.Semantic {
		hit, found, err := c.Lookup(ctx, key)
		if err == nil && found {
			err = hit.Decode(&value)
		}
		return value, found && err == nil, false, err
	}
	kept, found, err := c.KV.Fetch(ctx, key)
	if err == nil && found {
		err = kept.Decode(&value)
	}
	ageing = found && r.RefreshAhead > 0 && kept.TTL > 0 && kept.TTL < time.Duration(float64(r.TTL)*r.RefreshAhead)
	return value, found && err == nil, ageing, err
}

// write keeps what the function returned, even if who asked has gone.
func write[A, T any](ctx context.Context, c *Client, r *Rules[A], key string, argument A, value T) {
	if isNil(value) && !r.KeepNil {
		return
	}
	var tags, from []string
	if r.Tags != nil {
		tags = r.Tags(argument)
	}
	if r.DependsOn != nil {
		from = r.DependsOn(argument)
	}
	ctx = context.WithoutCancel(ctx)
	var err error
	if r.Semantic {
		_, err = c.Put(ctx, key, value, PutOptions{TTL: r.TTL, Tags: tags, DependsOn: from})
	} else {
		_, err = c.KV.Set(ctx, key, value, SetOptions{TTL: r.TTL, Tags: tags, DependsOn: from})
	}
	c.guard(err)
}

func (c *Client) guard(err error) {
	if err != nil {
		c.options.OnError(err)
	}
}

// Cacheable wraps a function so that it is called only for what the cache has not. Of several goroutines
// that ask for the same at the same time one calls it, and all have its value, which they share. Its
// context ends once all of them have gone. Its errors are its callers', and are not kept.
func Cacheable[A, T any](c *Client, rules Rules[A], f func(context.Context, A) (T, error)) func(context.Context, A) (T, error) {
	rules.check()
	return func(ctx context.Context, argument A) (T, error) {
		if rules.Condition != nil && !rules.Condition(argument) {
			return f(ctx, argument)
		}
		key := rules.Key(argument)
		compute := func(ctx context.Context) (T, error) { return makeValue(ctx, c, &rules, key, argument, f) }
		// Looking is part of what happens once: who looked in vain while another computed would compute again.
		return once(ctx, c, key, false, func(ctx context.Context) (T, error) {
			value, found, ageing, err := read[A, T](ctx, c, &rules, key)
			if err != nil {
				c.guard(err)
				return f(ctx, argument)
			}
			if !found {
				return compute(ctx)
			}
			if ageing {
				behind(ctx, c, key, compute)
			}
			return value, nil
		})
	}
}

// GetOrCompute is the value under the key, or what compute returns, which is then kept. Rules get the key.
func GetOrCompute[T any](ctx context.Context, c *Client, key string, rules Rules[string], compute func(context.Context) (T, error)) (T, error) {
	rules.Key = func(key string) string { return key }
	return Cacheable(c, rules, func(ctx context.Context, _ string) (T, error) { return compute(ctx) })(ctx, key)
}

func makeValue[A, T any](ctx context.Context, c *Client, r *Rules[A], key string, argument A, f func(context.Context, A) (T, error)) (T, error) {
	if r.AcrossProcesses && !r.Semantic {
		value, found, token := waitForTurn[A, T](ctx, c, r, key)
		if token != "" {
			defer func() { c.unlock(ctx, key, token) }()
		}
		if found {
			return value, nil
		}
	}
	value, err := f(ctx, argument)
	if err == nil {
		write(ctx, c, r, key, argument, value)
	}
	return value, err
}

// waitForTurn: another process made it, or it is ours to make and the token is to be given back; or
// neither, after a lease: whoever has it is too slow, or the cache cannot say.
func waitForTurn[A, T any](ctx context.Context, c *Client, r *Rules[A], key string) (value T, found bool, token string) {
	ctx, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	for {
		token, locked, err := c.KV.Lock(ctx, key, lease)
		if err == nil {
			value, found, _, err = read[A, T](ctx, c, r, key)
		}
		if err != nil {
			c.guard(err)
		}
		if err != nil || found || locked {
			return value, found, token
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return value, false, ""
		}
	}
}

func (c *Client) unlock(ctx context.Context, key, token string) {
	_, err := c.KV.Unlock(context.WithoutCancel(ctx), key, token)
	c.guard(err)
}

// CachePut wraps a function so that what it returns is kept: write-through. It is always called.
func CachePut[A, T any](c *Client, rules Rules[A], f func(context.Context, A) (T, error)) func(context.Context, A) (T, error) {
	rules.check()
	return func(ctx context.Context, argument A) (T, error) {
		value, err := f(ctx, argument)
		if err != nil || rules.Condition != nil && !rules.Condition(argument) {
			return value, err
		}
		write(ctx, c, &rules, rules.Key(argument), argument, value)
		return value, nil
	}
}

// Eviction says what is no longer true once a function has succeeded.
type Eviction[A any] struct {
	Keys      func(A) []string
	Tags      func(A) []string
	Pattern   func(A) string // of plain keys, in the client's namespace
	Condition func(A) bool   // only where it is true
	Semantic  bool           // the keys are questions
	Reason    string
}

// CacheEvict wraps a function so that, once it has succeeded, these are invalidated.
func CacheEvict[A, T any](c *Client, e Eviction[A], f func(context.Context, A) (T, error)) func(context.Context, A) (T, error) {
	if e.Keys == nil && e.Tags == nil && e.Pattern == nil {
		panic("deja: an Eviction needs Keys, Tags or a Pattern: what is to go?")
	}
	return func(ctx context.Context, argument A) (T, error) {
		value, err := f(ctx, argument)
		if err != nil || e.Condition != nil && !e.Condition(argument) {
			return value, err
		}
		ctx = context.WithoutCancel(ctx) // it has happened, whoever still waits for it
		drop := func(what Invalidation) {
			what.Reason = e.Reason
			_, err := c.Invalidate(ctx, what)
			c.guard(err)
		}
		if e.Tags != nil {
			for _, tag := range e.Tags(argument) {
				drop(Invalidation{Tag: tag})
			}
		}
		if e.Keys != nil {
			for _, key := range e.Keys(argument) {
				if e.Semantic {
					drop(Invalidation{Query: key})
				} else {
					_, err := c.KV.Delete(ctx, key)
					c.guard(err)
				}
			}
		}
		if e.Pattern != nil {
			drop(Invalidation{Pattern: e.Pattern(argument), Namespace: c.options.Namespace})
		}
		return value, nil
	}
}
