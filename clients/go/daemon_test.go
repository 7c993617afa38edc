package deja

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync/atomic"
	"testing"
	"time"
)

// What needs a daemon: $DEJA_SERVER, $DEJA_KEY (tests/integration/test_client_go.py).

var ctx = context.Background()

// cache is a client with a namespace of the test's own.
func cache(t *testing.T) *Client {
	t.Helper()
	if os.Getenv("DEJA_SERVER") == "" {
		t.Skip("no $DEJA_SERVER: ./dev test integration/test_client_go.py")
	}
	namespace := fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano())
	return New(Options{Namespace: namespace, Timeout: time.Minute, OnError: func(err error) { t.Error(err) }})
}

// ok is the first of what a call returned that must not fail.
func ok[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		must(t, err)
		return value
	}
}

func TestWhatWasPutIsFound(t *testing.T) {
	c := cache(t)
	question := "How do I reset my password?"
	put := ok[PutResult](t)(c.Put(ctx, question, map[string]string{"text": "Settings."},
		PutOptions{TTL: time.Hour, Tags: []string{t.Name()}, Metadata: Object{"lang": "en"}, Model: "m", Tokens: &Tokens{3, 4}}))
	found, hit, err := c.Lookup(ctx, question)
	must(t, err)
	equal(t, []any{hit, found.How, found.ID, found.Similarity, found.Tier}, []any{true, "exact", put.ID, 1, "memory"})
	var response struct{ Text string }
	must(t, found.Decode(&response))
	equal(t, response.Text, "Settings.")
	found, hit, err = c.Lookup(ctx, "Something else altogether")
	must(t, err)
	equal(t, []any{hit, found.Hit, found.Reason != "", found.Err}, []any{false, false, true, (*Error)(nil)})
	_, hit, err = c.Lookup(ctx, question, LookupOptions{Filter: Object{"lang": "de"}})
	must(t, err)
	equal(t, hit, false)
	_, hit, err = c.In("elsewhere").Lookup(ctx, question)
	must(t, err)
	equal(t, hit, false)
	similar := ok[[]Entry](t)(c.Similar(ctx, question, 5, LookupOptions{Threshold: 0.1}))
	equal(t, []any{len(similar), similar[0].ID, string(similar[0].Response)}, []any{1, put.ID, `{"text":"Settings."}`})

	entry, there, err := c.GetEntry(ctx, put.ID)
	must(t, err)
	equal(t, []any{there, entry.Query, entry.Metadata, entry.Tokens, entry.Namespace, *entry.SecondsLeft > 3000},
		[]any{true, question, Object{"lang": "en"}, Tokens{3, 4}, c.options.Namespace, true})
	equal(t, ok[Object](t)(c.Explain(ctx, question))["hit"], true)
	must(t, c.Feedback(ctx, put.ID, true))
	must(t, c.Feedback(ctx, put.ID, false))
	_, hit, err = c.Lookup(ctx, question)
	must(t, err)
	equal(t, hit, false)
	equal(t, errors.Is(c.Feedback(ctx, put.ID, false), ErrNotFound), true)
	equal(t, ok[bool](t)(c.DeleteEntry(ctx, put.ID)), false)
	_, there, err = c.GetEntry(ctx, put.ID)
	must(t, err)
	equal(t, there, false)
	put = ok[PutResult](t)(c.Put(ctx, question, "again"))
	equal(t, ok[bool](t)(c.DeleteEntry(ctx, put.ID)), true)
}

func TestBatchesAnswerInOrder(t *testing.T) {
	c := cache(t)
	puts := ok[[]PutResult](t)(c.PutMany(ctx, []Item{{Query: "a", Response: 1}, {Query: ""}, {Query: "b", Response: nil}}))
	equal(t, []any{puts[0].Err, errors.Is(puts[1].Err, ErrInvalid), puts[2].ID != ""}, []any{(*Error)(nil), true, true})
	found := ok[[]Found](t)(c.LookupMany(ctx, []Question{{Query: "b"}, {Query: "a"}, {Query: "neither of them"}, {}}))
	equal(t, []any{found[0].Hit, string(found[0].Response), string(found[1].Response), found[2].Hit, found[3].Err != nil},
		[]any{true, "null", "1", false, true})
}

func TestErrorsOfTheDaemon(t *testing.T) {
	c := cache(t)
	_, err := c.Put(ctx, "", "r")
	var e *Error
	equal(t, errors.As(err, &e), true)
	equal(t, []any{e.Type, e.Status, e.Fields[0].Field, errors.Is(err, ErrInvalid)}, []any{"query_empty", 400, "query", true})
	equal(t, errors.Is(c.Call(ctx, "GET", "/api/v1/tenants", nil, nil, nil), ErrDenied), true)
	equal(t, errors.Is(c.Call(ctx, "GET", "/api/v1/no-such", nil, nil, nil), ErrNotFound), true)
	equal(t, c.Ping(ctx), true)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.Stats(gone, "")
	equal(t, errors.Is(err, context.Canceled), true)
}

func TestPlainKeys(t *testing.T) {
	c := cache(t)
	set := ok[bool](t)
	for key, value := range map[string]any{"text": "häßlich\n", "bytes": []byte{0, 1, 255}, "json": map[string]any{"a": []any{1.0, nil}},
		"null": nil, "a/b?c#d %2F*": "odd name", "empty": "", "no \xff text": "of an odd key"} {
		equal(t, set(c.KV.Set(ctx, key, value)), true)
		got, found, err := Get[any](ctx, c, key)
		must(t, err)
		equal(t, []any{found, got}, []any{true, value})
	}
	_, found, err := Get[string](ctx, c, "no such key")
	must(t, err)
	equal(t, found, false)
	_, _, err = Get[int](ctx, c, "text")
	equal(t, errors.Is(err, ErrUnavailable), true)
	equal(t, set(c.KV.Set(ctx, "text", "other", SetOptions{IfAbsent: true})), false)
	kept, _, err := c.KV.Fetch(ctx, "text")
	must(t, err)
	equal(t, string(kept.Data), "häßlich\n")
	equal(t, set(c.KV.Set(ctx, "text", "newer", SetOptions{IfMatch: kept.ETag, TTL: 90 * time.Second})), true)
	equal(t, set(c.KV.Set(ctx, "text", "stale", SetOptions{IfMatch: kept.ETag})), false)
	kept, _, err = c.KV.Fetch(ctx, "text")
	must(t, err)
	equal(t, []any{string(kept.Data), kept.TTL > time.Minute, kept.TTL <= 90*time.Second}, []any{"newer", true, true})
	set(c.KV.Set(ctx, "for ever", 1, SetOptions{TTL: Forever}))
	kept, _, err = c.KV.Fetch(ctx, "for ever")
	must(t, err)
	equal(t, kept.TTL, time.Duration(0))
	equal(t, set(c.KV.Merge(ctx, "json", Object{"a": nil, "b": 2})), true)
	merged, _, err := Get[map[string]int](ctx, c, "json")
	must(t, err)
	equal(t, merged, map[string]int{"b": 2})
	equal(t, set(c.KV.Merge(ctx, "no such key", Object{})), false)
	equal(t, []bool{set(c.KV.Exists(ctx, "json")), set(c.KV.Delete(ctx, "json")), set(c.KV.Delete(ctx, "json")), set(c.KV.Exists(ctx, "json"))},
		[]bool{true, true, false, false})
	equal(t, ok[Object](t)(c.KV.Stats(ctx))["keys"] != nil, true)
}

func TestManyKeysAtOnceAndCounters(t *testing.T) {
	c := cache(t)
	must(t, c.KV.SetMany(ctx, map[string]any{"m:1": "one", "m:2": []byte{255}, "m:3": "thr\xffee"}, time.Hour, "many"))
	many, err := GetMany[[]byte](ctx, c, "m:1", "m:2", "none")
	must(t, err)
	equal(t, many, map[string][]byte{"m:1": []byte("one"), "m:2": {255}})
	texts, err := GetMany[string](ctx, c, "m:3")
	must(t, err)
	equal(t, texts["m:3"], "thr\xffee")
	equal(t, c.KV.SetMany(ctx, map[string]any{"": 1}, 0) != nil, true)
	count := ok[int64](t)
	equal(t, []int64{count(c.KV.Incr(ctx, "n", 5)), count(c.KV.Incr(ctx, "n", -7)), count(c.KV.Incr(ctx, "n", 0))}, []int64{5, -2, -2})
	_, err = c.KV.Incr(ctx, "m:1", 1)
	var e *Error
	equal(t, errors.As(err, &e) && e.Type == "not_an_integer", true)
	results := ok[[]Result](t)(c.KV.Batch(ctx, []Object{{"op": "exists", "key": "m:1"}, {"op": "set", "key": "m:1", "value": 1, "if": "absent"}}))
	equal(t, []bool{results[0].Exists, results[1].Stored}, []bool{true, false})

	names := []string{}
	for cursor, more := "", true; more; more = cursor != "" {
		var page []KeyInfo
		page, cursor, err = c.KV.Keys(ctx, "m:*", cursor, 1)
		must(t, err)
		for _, key := range page {
			names = append(names, key.Key)
		}
	}
	sort.Strings(names)
	equal(t, names, []string{"m:1", "m:2", "m:3"})
	equal(t, []int64{count(c.KV.DeleteMatching(ctx, "m:*", true)), count(c.KV.DeleteMatching(ctx, "m:*", false))}, []int64{3, 3})
}

func TestVersionsLivesAndReasonsOfPlainKeys(t *testing.T) {
	c := cache(t)
	for _, version := range []string{"v1", "v2"} {
		_, err := c.KV.Set(ctx, "versioned", "of "+version, SetOptions{Version: version})
		must(t, err)
	}
	for version, expected := range map[string]string{"v1": "of v1", "v2": "of v2", "v0": ""} {
		kept, found, err := c.KV.FetchVersion(ctx, "versioned", version)
		must(t, err)
		equal(t, []any{found, string(kept.Data)}, []any{expected != "", expected})
	}
	changed := ok[bool](t)
	equal(t, changed(c.KV.Expire(ctx, "versioned", time.Hour)), true)
	left, found, err := c.KV.TTL(ctx, "versioned")
	must(t, err)
	equal(t, []bool{found, left > 50*time.Minute, left <= time.Hour}, []bool{true, true, true})
	equal(t, changed(c.KV.Expire(ctx, "versioned", Forever)), true)
	left, _, err = c.KV.TTL(ctx, "versioned")
	must(t, err)
	equal(t, left, Forever)
	equal(t, changed(c.KV.Expire(ctx, "nothing here", time.Hour)), false)
	_, found, err = c.KV.TTL(ctx, "nothing here")
	must(t, err)
	equal(t, found, false)
	for _, key := range []string{"", "."} {
		_, err = c.KV.Set(ctx, key, 1)
		equal(t, errors.Is(err, ErrInvalid), true)
		_, _, err = c.KV.Fetch(ctx, key)
		equal(t, errors.Is(err, ErrInvalid), true)
	}
	equal(t, changed(c.KV.Delete(ctx, "versioned", "no longer so")), true)
	_, err = c.KV.Set(ctx, "versioned", "again")
	must(t, err)
	count := ok[int64](t)
	equal(t, count(c.KV.Clear(ctx, true)) >= 1, true)
	equal(t, count(c.KV.Clear(ctx, false, "tidied up")) >= 1, true)
	equal(t, count(c.KV.Clear(ctx, true)), int64(0))
}

func TestLocks(t *testing.T) {
	c := cache(t)
	token, locked, err := c.KV.Lock(ctx, "l", time.Minute)
	must(t, err)
	equal(t, locked && token != "", true)
	_, locked, err = c.KV.Lock(ctx, "l", 0)
	must(t, err)
	equal(t, locked, false)
	held := ok[bool](t)
	equal(t, []bool{held(c.KV.Hold(ctx, "l", token, time.Minute)), held(c.KV.Unlock(ctx, "l", token)), held(c.KV.Unlock(ctx, "l", token))},
		[]bool{true, true, false})
}

func TestKindsAndFigures(t *testing.T) {
	c := cache(t)
	name := ok[KeyName](t)(c.KV.Name(ctx, "template_score", Object{"id": 42}))
	equal(t, []any{name.Key, name.Kind, *name.SecondsTTL, len(name.Tags)}, []any{"template:score:42", "template_score", 21600, 2})
	equal(t, len(ok[[]Object](t)(c.Kinds(ctx))) > 5, true)
	for _, query := range []string{"q1", "q2"} {
		ok[PutResult](t)(c.Put(ctx, query, 1))
		_, hit, err := c.Lookup(ctx, query)
		must(t, err)
		equal(t, hit, true)
	}
	until(t, func() bool { return len(ok[[]Entry](t)(c.Top(ctx, 0))) >= 2 })
	equal(t, len(ok[[]Entry](t)(c.Top(ctx, 1))), 1)
	for _, read := range []func(context.Context) (Object, error){c.Limits, c.Patterns} {
		equal(t, len(ok[Object](t)(read(ctx))) > 0, true)
	}
	equal(t, ok[Object](t)(c.Stats(ctx, "24h"))["period"].(Object)["seconds"], 86400)
	var lines bytes.Buffer
	cursor, err := c.Export(ctx, &lines, "", false)
	must(t, err)
	equal(t, []any{cursor, bytes.Contains(lines.Bytes(), []byte(`"q1"`))}, []any{"", true})
}

func TestInvalidation(t *testing.T) {
	c := cache(t)
	void := ok[Invalidated](t)
	ok[bool](t)(c.KV.Set(ctx, "dataset", 1))
	ok[bool](t)(c.KV.Set(ctx, "chart", 1, SetOptions{DependsOn: []string{"dataset"}, Tags: []string{t.Name()}}))
	ok[bool](t)(c.KV.Set(ctx, "page", 1, SetOptions{DependsOn: []string{"chart"}}))
	would := void(c.Invalidate(ctx, Invalidation{Cascade: "dataset", DryRun: true}))
	equal(t, []any{would.WouldRemove, len(would.Tree), would.Removed}, []any{2, 2, 0})
	equal(t, void(c.Invalidate(ctx, Invalidation{Tag: t.Name(), Dependants: true, Reason: "test"})).Removed, 2)
	ok[bool](t)(c.KV.Set(ctx, "template:score:42", 1))
	event := Object{"name": "template:updated", "template_id": "42"}
	equal(t, void(c.Invalidate(ctx, Invalidation{Event: event})).Kind, "event")
	equal(t, ok[bool](t)(c.KV.Exists(ctx, "template:score:42")), false)
	equal(t, void(c.Invalidate(ctx, Invalidation{Pattern: "data*", Namespace: c.options.Namespace})).Removed, 1)
	ok[PutResult](t)(c.Put(ctx, "which way", "left"))
	equal(t, void(c.Invalidate(ctx, Invalidation{Query: "which way"})).Removed, 1)

	for _, later := range []Invalidation{{Tag: "t", After: time.Hour}, {Tag: "t", At: time.Now().Add(time.Hour)}, {Tag: "t", Cron: "@daily"}} {
		made := void(c.Invalidate(ctx, later))
		equal(t, made.NextAt.After(time.Now()), true)
		schedules := ok[[]Schedule](t)(c.Schedules(ctx))
		equal(t, []any{len(schedules), schedules[0].ID, schedules[0].Invalidate["tag"]}, []any{1, made.Schedule, "t"})
		cancelled := ok[bool](t)
		equal(t, []bool{cancelled(c.CancelSchedule(ctx, made.Schedule)), cancelled(c.CancelSchedule(ctx, made.Schedule))}, []bool{true, false})
	}
}

func TestNoticesAreFollowed(t *testing.T) {
	c := cache(t)
	follow := func(ctx context.Context, after string) *Follower {
		notices, err := c.Follow(ctx, after)
		must(t, err)
		t.Cleanup(notices.Close)
		return notices
	}
	next := func(f *Follower) Notice {
		t.Helper()
		for f.Next() {
			if f.Notice().Event == "invalidation" {
				return f.Notice()
			}
		}
		t.Fatal(f.Err())
		return Notice{}
	}
	following, cancel := context.WithCancel(ctx)
	notices := follow(following, "")
	equal(t, []any{notices.Next(), notices.Notice().Event}, []any{true, "following"})
	for _, tag := range []string{"one", "two"} {
		ok[Invalidated](t)(c.Invalidate(ctx, Invalidation{Tag: tag, Reason: "because"}))
	}
	one := next(notices)
	equal(t, []string{one.Kind, one.Name, one.Reason, one.Source}, []string{"tag", "one", "because", "here"})
	equal(t, next(notices).Name, "two")
	equal(t, next(follow(ctx, one.ID)).Name, "two")
	cancel()
	equal(t, notices.Next(), false)
	equal(t, errors.Is(notices.Err(), context.Canceled), true)
	_, err := c.As("somebody").Follow(ctx, "")
	equal(t, errors.Is(err, ErrDenied), true)
}

type pair struct{ User, Tenant string }

func pairKey(p pair) string { return Key("user", p.User, p.Tenant) }

func TestAFunctionIsCalledOnceForEachKey(t *testing.T) {
	c := cache(t)
	var calls atomic.Int64
	tags := func(p pair) []string { return []string{Key(t.Name(), p.User)} }
	load := Cacheable(c, Rules[pair]{Key: pairKey, TTL: time.Minute, Tags: tags, DependsOn: func(pair) []string { return []string{t.Name()} }},
		func(_ context.Context, p pair) (pair, error) { calls.Add(1); return p, nil })
	for _, p := range []pair{{"1", "a"}, {"1", "a"}, {"1", "b"}, {"*", "a"}, {"ü,", "a"}} {
		equal(t, ok[pair](t)(load(ctx, p)), p)
	}
	equal(t, []any{calls.Load(), ok[bool](t)(c.KV.Exists(ctx, "user:%2A:a"))}, []any{4, true})
	for _, user := range []string{"1", "ü,"} {
		ok[Invalidated](t)(c.Invalidate(ctx, Invalidation{Tag: Key(t.Name(), user)}))
		ok[pair](t)(load(ctx, pair{user, "a"}))
	}
	ok[Invalidated](t)(c.Invalidate(ctx, Invalidation{Cascade: t.Name()}))
	ok[pair](t)(load(ctx, pair{"1", "a"}))
	equal(t, calls.Load(), 7)
}

// The function itself makes void what it has read.
func TestWhatWasComputedBeforeIsNotBroughtBack(t *testing.T) {
	c := cache(t)
	name := Key(t.Name())
	drops := map[string]func() error{
		"key":     func() error { _, err := c.KV.Delete(ctx, name); return err },
		"newer":   func() error { _, err := c.KV.Set(ctx, name, 2); return err },
		"tag":     func() error { _, err := c.Invalidate(ctx, Invalidation{Tag: "tag:" + name}); return err },
		"pattern": func() error { _, err := c.Invalidate(ctx, Invalidation{Pattern: name + "*"}); return err },
		"filter":  func() error { _, err := c.Invalidate(ctx, Invalidation{Filter: Object{"lang": "en"}}); return err },
		"cascade": func() error { _, err := c.Invalidate(ctx, Invalidation{Cascade: "from:" + name}); return err },
		"all":     func() error { _, err := c.Invalidate(ctx, Invalidation{All: true}); return err },
	}
	for _, across := range []bool{false, true} {
		for way, drop := range drops {
			ok[bool](t)(c.KV.Delete(ctx, name))
			row := 1
			load := Cacheable(c, Rules[string]{Key: func(key string) string { return key }, TTL: time.Minute, AcrossProcesses: across,
				Tags:      func(key string) []string { return []string{"tag:" + key} },
				DependsOn: func(key string) []string { return []string{"from:" + key} }},
				func(context.Context, string) (int, error) {
					read := row
					if read == 1 {
						row = 2
						return read, drop()
					}
					return read, nil
				})
			equal(t, ok[int](t)(load(ctx, name)), 1)
			equal(t, []any{way, ok[bool](t)(c.KV.Exists(ctx, name))}, []any{way, way == "newer"})
			equal(t, ok[int](t)(load(ctx, name)), 2)
		}
	}
}

func TestWhatIsNotKept(t *testing.T) {
	c := cache(t)
	calls := 0
	fail := errors.New("the database says no")
	count := func(_ context.Context, s string) (*string, error) {
		calls++
		if s == "fails" {
			return nil, fail
		}
		return nil, nil
	}
	called := func(rules Rules[string], argument string) int {
		t.Helper()
		calls = 0
		rules.Key = func(s string) string { return s }
		for i := 0; i < 2; i++ {
			_, err := Cacheable(c, rules, count)(ctx, argument)
			equal(t, err != nil, argument == "fails")
			equal(t, err == nil || errors.Is(err, fail), true)
		}
		return calls
	}
	never := func(string) bool { return false }
	equal(t, []int{called(Rules[string]{}, "nil"), called(Rules[string]{KeepNil: true}, "kept"),
		called(Rules[string]{KeepNil: true, Condition: never}, "not asked"), called(Rules[string]{KeepNil: true}, "fails")}, []int{2, 1, 2, 2})
}

func TestGoroutinesAndProcessesWaitForOne(t *testing.T) {
	c := cache(t)
	other := New(Options{Namespace: c.options.Namespace, Timeout: time.Minute}) // shares nothing with c but the daemon
	var calls atomic.Int64
	begun, open, results := make(chan struct{}), make(chan struct{}), make(chan string)
	work := func(context.Context, string) (string, error) {
		calls.Add(1)
		close(begun)
		<-open
		return "made", nil
	}
	for _, one := range []*Client{c, c, c, other} {
		load := Cacheable(one, Rules[string]{Key: func(x string) string { return Key("everywhere", x) }, AcrossProcesses: true}, work)
		go func() {
			made, err := load(ctx, "x")
			if err != nil {
				t.Error(err)
			}
			results <- made
		}()
	}
	<-begun
	_, locked, err := other.KV.Lock(ctx, "everywhere:x", 0)
	must(t, err)
	equal(t, locked, false)
	close(open)
	for i := 0; i < 4; i++ {
		equal(t, <-results, "made")
	}
	_, locked, err = other.KV.Lock(ctx, "everywhere:x", 0)
	must(t, err)
	equal(t, []any{calls.Load(), locked}, []any{1, true}) // and it was given back
}

func TestEvictionWriteThroughAndGetOrCompute(t *testing.T) {
	c := cache(t)
	calls := 0
	key := func(id string) string { return Key("account", id) }
	tags := func(id string) []string { return []string{Key(t.Name(), id)} }
	load := Cacheable(c, Rules[string]{Key: key, Tags: tags}, func(context.Context, string) (int, error) { calls++; return calls, nil })
	fail := errors.New("disk full")
	save := func(_ context.Context, id string) (string, error) {
		if id == "2" {
			return "", fail
		}
		return "saved", nil
	}
	both := func(id string) []string { return []string{key("1"), key("2")} }
	for _, e := range []struct {
		eviction Eviction[string]
		argument string
		want     int
	}{
		{Eviction[string]{Keys: both}, "2", 1}, // fails, and nothing goes
		{Eviction[string]{Keys: both}, "1", 2},
		{Eviction[string]{Keys: both, Condition: func(string) bool { return false }}, "1", 2},
		{Eviction[string]{Tags: tags, Reason: "test"}, "1", 3},
		{Eviction[string]{Pattern: func(string) string { return "acc*" }}, "1", 4},
		{Eviction[string]{Keys: both, Semantic: true}, "1", 4}, // another thing than the plain key
	} {
		ok[int](t)(load(ctx, "1"))
		_, err := CacheEvict(c, e.eviction, save)(ctx, e.argument)
		equal(t, errors.Is(err, fail), e.argument == "2")
		equal(t, ok[int](t)(load(ctx, "1")), e.want)
	}
	gone, cancel := context.WithCancel(ctx)
	rename := CachePut(c, Rules[string]{Key: key, TTL: time.Minute}, func(context.Context, string) (int, error) { cancel(); return 77, nil })
	ok[int](t)(rename(gone, "1")) // kept, though who asked has gone
	equal(t, ok[int](t)(load(ctx, "1")), 77)
	compute := func(context.Context) (int, error) { calls++; return calls, nil }
	first := ok[int](t)(GetOrCompute(ctx, c, "computed", Rules[string]{TTL: time.Minute}, compute))
	equal(t, ok[int](t)(GetOrCompute(ctx, c, "computed", Rules[string]{}, compute)), first)
}

func TestWhatAgesIsMadeAnewBehind(t *testing.T) {
	c := cache(t)
	made := make(chan int, 2)
	var calls atomic.Int64
	rules := Rules[string]{Key: func(string) string { return "ageing" }, TTL: 1000 * time.Second, RefreshAhead: 0.5}
	load := Cacheable(c, rules, func(context.Context, string) (int, error) {
		n := int(calls.Add(1))
		made <- n
		return n, nil
	})
	equal(t, []int{ok[int](t)(load(ctx, "")), ok[int](t)(load(ctx, "")), <-made}, []int{1, 1, 1})
	ok[bool](t)(c.KV.Set(ctx, "ageing", 1, SetOptions{TTL: 300 * time.Second}))
	equal(t, []int{ok[int](t)(load(ctx, "")), <-made}, []int{1, 2})
	until(t, func() bool {
		value, _, err := Get[int](ctx, c, "ageing")
		must(t, err)
		return value == 2
	})
}

func TestQuestionsAreAnsweredByTheirMeaning(t *testing.T) {
	c := cache(t)
	calls := 0
	answer := Cacheable(c, Rules[string]{Key: func(q string) string { return q }, Semantic: true, TTL: time.Hour},
		func(_ context.Context, q string) (map[string]string, error) {
			calls++
			return map[string]string{"a": q}, nil
		})
	question := "Where is the {key}?"
	for i := 0; i < 2; i++ {
		equal(t, ok[map[string]string](t)(answer(ctx, question))["a"], question)
	}
	found, hit, err := c.Lookup(ctx, question)
	must(t, err)
	equal(t, []any{calls, hit, found.How}, []any{1, true, "exact"})
}
