package deja

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// What needs no daemon.

func equal(t *testing.T, got, want any) {
	t.Helper()
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
		t.Fatalf("got  %s\nwant %s", a, b)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a change that nothing tells of.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("timed out")
		}
	}
}

// serving is a client of a server that answers like this.
func serving(t *testing.T, answer http.HandlerFunc) *Client {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return New(Options{Server: server.URL, Timeout: time.Minute, OnError: func(err error) { t.Error(err) }})
}

// lost is a client of nothing; told is what it went on without.
func lost() (c *Client, told *[]error) {
	told = &[]error{}
	return New(Options{Server: "http://127.0.0.1:1", OnError: func(err error) { *told = append(*told, err) }}), told
}

func TestNoArgumentReachesTheSyntaxOfKeys(t *testing.T) {
	equal(t, Key("user", 7, "a:b*,"), "user:7:a%3Ab%2A%2C")
	equal(t, Key("100%\n", "ü"), "100%25%0A:ü")
}

func TestRulesThatCannotBeAreRefused(t *testing.T) {
	c, _ := lost()
	id := func(_ context.Context, s string) (string, error) { return s, nil }
	key := func(s string) string { return s }
	for name, wrap := range map[string]func(){
		"needs a TTL":     func() { Cacheable(c, Rules[string]{Key: key, RefreshAhead: 0.2}, id) },
		"need a Key":      func() { CachePut(c, Rules[string]{}, id) },
		"what is to go":   func() { CacheEvict(c, Eviction[string]{}, id) },
		"life, 0 to 1, a": func() { Cacheable(c, Rules[string]{Key: key, TTL: 1, RefreshAhead: 2}, id) },
	} {
		func() {
			defer func() {
				if said := fmt.Sprint(recover()); !strings.Contains(said, name) {
					t.Errorf("%q was said, not %q", said, name)
				}
			}()
			wrap()
		}()
	}
}

func TestFormsOnTheWire(t *testing.T) {
	for _, form := range []struct {
		value any
		want  string
	}{
		{Item{"q", nil, PutOptions{TTL: 90 * time.Second, Tags: []string{"<a>"}}}, `{"query":"q","response":null,"tags":["<a>"],"ttl":90}`},
		{Question{"q", LookupOptions{Limit: 3, MaxAge: time.Minute}}, `{"query":"q","limit":3,"max_age":60}`},
		{Invalidation{Tag: "t", Dependants: true, DryRun: true}, `{"tag":"t","dry_run":true,"cascade":true}`},
		{Invalidation{Cascade: "doc", Reason: "r"}, `{"reason":"r","cascade":"doc"}`},
		{Invalidation{All: true, At: time.Unix(0, 0)}, `{"all":true,"at":"1970-01-01T00:00:00Z"}`},
		{operation("get", "k\xff"), `{"key_base64":"a/8=","op":"get"}`},
	} {
		made, err := marshal(form.value)
		must(t, err)
		equal(t, string(made), form.want)
	}
}

func TestValuesComeBackAsTheyWere(t *testing.T) {
	type pair struct{ A, B int }
	back := func(value, out any) any {
		mediaType, data, err := encode(value)
		must(t, err)
		must(t, Value{Data: data, MediaType: mediaType}.Decode(out))
		return out
	}
	equal(t, *back("häßlich\n", new(string)).(*string), "häßlich\n")
	equal(t, *back([]byte{0, 255}, new([]byte)).(*[]byte), []byte{0, 255})
	equal(t, *back(pair{1, 2}, new(pair)).(*pair), pair{1, 2})
	equal(t, *back("text", new(any)).(*any), "text")
	equal(t, *back([]byte("b"), new(any)).(*any), []byte("b"))
	equal(t, *back([]int{1}, new(any)).(*any), []any{1.0})
	equal(t, string(*back(json.RawMessage(`{"a":1}`), new([]byte)).(*[]byte)), `{"a":1}`)
	_, _, err := encode(func() {})
	equal(t, errors.Is(err, ErrInvalid), true)
}

func TestErrorsSayWhatAProgramWouldDo(t *testing.T) {
	all := []error{ErrUnavailable, ErrLimited, ErrDenied, ErrNotFound, ErrInvalid}
	for status, want := range map[int][]bool{
		0: {true, false, false, false, false}, 503: {true, false, false, false, false}, 429: {true, true, false, false, false},
		401: {false, false, true, false, false}, 404: {false, false, false, true, false}, 422: {false, false, false, false, true},
	} {
		got := []bool{}
		for _, kind := range all {
			got = append(got, errors.Is(problem(status, http.Header{}, nil), kind))
		}
		equal(t, got, want)
	}
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
		fmt.Fprint(w, `{"type":"rate_limited","detail":"slower","fields":[{"field":"f","message":"m"}]}`)
	})
	var e *Error
	_, err := c.Stats(context.Background(), "")
	equal(t, errors.As(err, &e), true)
	equal(t, []any{e.Type, e.Status, e.RetryAfter, e.Error()}, []any{"rate_limited", 429, 7 * time.Second, "deja: slower (f: m)"})
	c = serving(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") })
	_, err = c.Stats(context.Background(), "")
	equal(t, errors.Is(err, ErrUnavailable), true)
}

func TestWhatIsSent(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Clone(context.Background()) }))
	defer server.Close()
	c := New(Options{Server: server.URL + "/", Key: "k", Tenant: "t", Namespace: "other"}).In("n").As("u")
	done, err := c.KV.Set(context.Background(), "a/b?c#d %2F*", "v", SetOptions{TTL: Forever, Tags: []string{"a", "b"}, IfAbsent: true})
	must(t, err)
	equal(t, done, true)
	equal(t, got.URL.EscapedPath(), "/api/v1/kv/a%2Fb%3Fc%23d%20%252F%2A")
	for name, want := range map[string]string{"Authorization": "Bearer k", "X-Deja-Tenant": "t", "X-Deja-User": "u", "X-Deja-Namespace": "n",
		"X-Deja-TTL": "0", "X-Deja-Tags": "a,b", "If-None-Match": "*", "Content-Type": "text/plain; charset=utf-8", "If-Match": ""} {
		equal(t, name+": "+got.Header.Get(name), name+": "+want)
	}
	_, err = c.KV.Set(context.Background(), "k", 1, SetOptions{Tags: []string{"a,b"}})
	equal(t, errors.Is(err, ErrInvalid), true)
}

func TestNoticesAreReadAsTheyCome(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Last-Event-ID") != "41" {
			t.Error(r.Header)
		}
		fmt.Fprint(w, ": a heartbeat\n\nid: 42\nevent: invalidation\ndata: {\"kind\":\"tag\",\"name\":\"t\",\"removed\":3}\n\n"+
			"event: lost\ndata: {}\n\nid: 43\nevent: invalidation\ndata: cut off")
	})
	notices, err := c.Follow(context.Background(), "41")
	must(t, err)
	defer notices.Close()
	equal(t, notices.Next(), true)
	equal(t, notices.Notice(), Notice{ID: "42", Event: "invalidation", Kind: "tag", Name: "t", Removed: 3})
	equal(t, notices.Next(), true)
	equal(t, notices.Notice(), Notice{Event: "lost"})
	equal(t, notices.Next(), false)
	must(t, notices.Err())
}

func TestAStreamThatDoesNotBeginIsGivenUp(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	c := New(Options{Server: server.URL, Timeout: 10 * time.Millisecond})
	_, err := c.Follow(context.Background(), "")
	equal(t, errors.Is(err, context.DeadlineExceeded) && errors.Is(err, ErrUnavailable), true)
	_, err = c.Stats(context.Background(), "")
	equal(t, errors.Is(err, context.DeadlineExceeded) && errors.Is(err, ErrUnavailable), true)
}

func TestAnExportGoesOnWhereItWas(t *testing.T) {
	calls := 0
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		switch r.URL.Query().Get("cursor") {
		case "":
			w.Header().Set("X-Deja-Cursor", "c1")
			fmt.Fprintln(w, "one")
		case "c1":
			if calls == 2 {
				w.WriteHeader(503)
				return
			}
			fmt.Fprintln(w, "two")
		}
	})
	var lines bytes.Buffer
	cursor, err := c.Export(context.Background(), &lines, "", false)
	equal(t, []any{cursor, errors.Is(err, ErrUnavailable)}, []any{"c1", true})
	cursor, err = c.Export(context.Background(), &lines, cursor, false)
	must(t, err)
	equal(t, cursor+lines.String(), "one\ntwo\n")
}

func TestWithoutTheCacheEverythingGoesOn(t *testing.T) {
	ctx := context.Background()
	c, told := lost()
	calls := 0
	count := func(context.Context, int) (int, error) { calls++; return calls, nil }
	rules := Rules[int]{Key: func(i int) string { return Key("count", i) }, TTL: time.Minute, AcrossProcesses: true}
	evict := Eviction[int]{Keys: func(int) []string { return []string{"a"} }, Tags: func(int) []string { return []string{"t"} }}
	for i, f := range []func(context.Context, int) (int, error){
		Cacheable(c, rules, count), CachePut(c, rules, count), CacheEvict(c, evict, count),
		func(ctx context.Context, _ int) (int, error) {
			return GetOrCompute(ctx, c, "k", Rules[string]{}, func(ctx context.Context) (int, error) { return count(ctx, 0) })
		},
	} {
		got, err := f(ctx, 1)
		must(t, err)
		equal(t, got, i+1)
	}
	equal(t, len(*told), 5)
	_, _, err := Get[string](ctx, c, "k")
	equal(t, errors.Is(err, ErrUnavailable), true)
	equal(t, c.Ping(ctx), false)
}

func TestWhoLeavesEndsNothingAndTheLastOneEndsIt(t *testing.T) {
	c, _ := lost()
	begun, open, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	work := func(ctx context.Context) (string, error) {
		close(begun)
		select {
		case <-open:
			return "made", nil
		case <-ctx.Done():
			close(ended)
			return "", ctx.Err()
		}
	}
	ctx, leave := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Add(2)
	go func() {
		defer all.Done()
		if _, err := once(ctx, c, "k", false, work); err != context.Canceled {
			t.Error(err)
		}
	}()
	<-begun
	waiting := func() (n int) {
		c.flights.mutex.Lock()
		defer c.flights.mutex.Unlock()
		for _, f := range c.flights.running {
			n += f.waiting
		}
		return n
	}
	go func() {
		defer all.Done()
		got, err := once(context.Background(), c, "k", false, work)
		if got != "made" || err != nil {
			t.Error(got, err)
		}
	}()
	until(t, func() bool { return waiting() == 2 })
	leave()
	until(t, func() bool { return waiting() == 1 })
	close(open)
	all.Wait()

	begun, open = make(chan struct{}), make(chan struct{})
	ctx, leave = context.WithCancel(context.Background())
	go func() { <-begun; leave() }()
	_, err := once(ctx, c, "k", false, work)
	equal(t, err, context.Canceled)
	<-ended
	equal(t, waiting(), 0)
}

func TestAPanicIsItsCallers(t *testing.T) {
	c, _ := lost()
	func() {
		defer func() { equal(t, recover(), "no") }()
		_, _ = once(context.Background(), c, "k", false, func(context.Context) (int, error) { panic("no") })
	}()
	_, err := once(context.Background(), c, "k", false, func(context.Context) (int, error) { runtime.Goexit(); return 1, nil })
	equal(t, strings.Contains(err.Error(), "ended its goroutine"), true)
	got, err := once(context.Background(), c, "k", false, func(context.Context) (any, error) { return nil, nil })
	equal(t, []any{got, err}, []any{nil, nil})
}
