package deja

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Invalidation says what is no longer true: one of Key, Query, All, Cascade; or whatever of Tag,
// Namespace, OlderThan, Filter, Version, Pattern, Event is said, all of which must hold. With At,
// After or Cron it is kept for later.
type Invalidation struct {
	Key        string        `json:"key,omitempty"`   // the ID of an entry
	Query      string        `json:"query,omitempty"` // the entry of that very question
	All        bool          `json:"all,omitempty"`
	Tag        string        `json:"tag,omitempty"`
	Namespace  string        `json:"namespace,omitempty"`
	OlderThan  time.Duration `json:"-"`
	Filter     Object        `json:"filter,omitempty"`
	Version    string        `json:"version,omitempty"`
	Pattern    string        `json:"pattern,omitempty"` // of plain keys and tags
	Event      Object        `json:"event,omitempty"`   // {"name": "template:updated", "template_id": "42"}
	Cascade    string        `json:"-"`                 // what was made from this, and from that in turn
	Dependants bool          `json:"-"`                 // beside another selector: its dependants, too
	At         time.Time     `json:"-"`
	After      time.Duration `json:"-"`
	Cron       string        `json:"cron,omitempty"` // five fields, UTC
	Reason     string        `json:"reason,omitempty"`
	DryRun     bool          `json:"dry_run,omitempty"` // only tell
}

// MarshalJSON is the form of POST /api/v1/invalidate.
func (i Invalidation) MarshalJSON() ([]byte, error) {
	type plain Invalidation
	out := struct {
		plain
		OlderThan any `json:"older_than,omitempty"`
		Cascade   any `json:"cascade,omitempty"`
		At        any `json:"at,omitempty"`
		After     any `json:"after,omitempty"`
	}{plain: plain(i), OlderThan: seconds(i.OlderThan), After: seconds(i.After)}
	if i.Cascade != "" {
		out.Cascade = i.Cascade
	} else if i.Dependants {
		out.Cascade = true
	}
	if !i.At.IsZero() {
		out.At = i.At.UTC().Format("2006-01-02T15:04:05Z")
	}
	return marshal(out)
}

// Invalidated is what an Invalidation came to.
type Invalidated struct {
	Removed     int64     `json:"removed"`
	WouldRemove int64     `json:"would_remove"` // of a dry run
	Kind        string    `json:"kind"`
	Tree        []Object  `json:"tree"`     // of a cascade: id, depth, parent, …; parents before their children
	Schedule    string    `json:"schedule"` // for later: for CancelSchedule
	NextAt      time.Time `json:"next_at"`
}

// Invalidate removes what is no longer true. A Query is looked for in the client's namespace; nothing
// else is narrowed to it unless Namespace says so.
func (c *Client) Invalidate(ctx context.Context, what Invalidation) (Invalidated, error) {
	if what.Query != "" {
		what.Namespace = or(what.Namespace, c.options.Namespace)
	}
	var out Invalidated
	err := c.Call(ctx, "POST", "/api/v1/invalidate", nil, what, &out)
	return out, err
}

// Schedule is an invalidation that is kept for later.
type Schedule struct {
	ID          string    `json:"id"`
	NextAt      time.Time `json:"next_at"`
	Cron        string    `json:"cron"`
	Runs        int64     `json:"runs"`
	LastRemoved int64     `json:"last_removed"`
	LastError   string    `json:"last_error"`
	Invalidate  Object    `json:"invalidate"`
}

// Schedules lists what was put off, soonest first.
func (c *Client) Schedules(ctx context.Context) ([]Schedule, error) {
	var out struct{ Schedules []Schedule }
	err := c.Call(ctx, "GET", "/api/v1/schedules", nil, nil, &out)
	return out.Schedules, err
}

// CancelSchedule forgets one; true: it was there.
func (c *Client) CancelSchedule(ctx context.Context, id string) (bool, error) {
	return c.remove(ctx, "/api/v1/schedules/"+url.PathEscape(id), nil)
}

// Notice is something that was made void, or, by its Event, a word about the stream: "following", it has
// begun; "lost", some notices were not kept: drop your copies.
type Notice struct {
	ID        string    `json:"-"` // for Follow, to go on after it
	Event     string    `json:"-"` // "invalidation", "following", "lost"
	Time      time.Time `json:"time"`
	Kind      string    `json:"kind"` // "tag", "key", "pattern", …
	Name      string    `json:"name"`
	Namespace string    `json:"namespace"`
	Reason    string    `json:"reason"`
	Removed   int64     `json:"removed"`
	Source    string    `json:"source"`
}

// Follower reads the notices of a tenant; for one goroutine.
//
//	notices, err := cache.Follow(ctx, "")
//	…
//	defer notices.Close()
//	for notices.Next() {
//		forget(notices.Notice())
//	}
//	err = notices.Err()
type Follower struct {
	cancel context.CancelFunc
	body   io.ReadCloser
	lines  *bufio.Scanner
	notice Notice
	err    error
}

// Follow begins to follow what is made void, after the notice of an ID, or from now on (""). It lasts
// until ctx is done, Close, or the daemon ends it.
func (c *Client) Follow(ctx context.Context, after string) (*Follower, error) {
	ctx, cancel := context.WithCancel(ctx)
	tooSlow := time.AfterFunc(c.options.Timeout, cancel) // the stream may last; its beginning may not
	r := request{method: "GET", path: "/api/v1/invalidations", header: map[string]string{"Last-Event-ID": after}}
	answer, err := c.open(ctx, r)
	if !tooSlow.Stop() {
		if err == nil {
			answer.Body.Close()
		}
		err = unreached(context.DeadlineExceeded)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer cancel()
		defer answer.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		return nil, problem(answer.StatusCode, answer.Header, body)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return &Follower{cancel: cancel, body: answer.Body, lines: lines}, nil
}

// Next waits for a notice; false: there are no more, and Err says why.
func (f *Follower) Next() bool {
	var id, event, data string
	for f.err == nil && f.lines.Scan() {
		name, value, _ := strings.Cut(f.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data += value
		}
		if f.lines.Text() != "" || event == "" {
			continue
		}
		f.notice = Notice{}
		if err := json.Unmarshal([]byte(data), &f.notice); err != nil {
			f.err = unreadable(err)
			return false
		}
		f.notice.ID, f.notice.Event = id, event
		return true
	}
	if err := f.lines.Err(); f.err == nil && err != nil {
		f.err = unreached(err)
	}
	return false
}

// Notice is the one that Next came to.
func (f *Follower) Notice() Notice { return f.notice }

// Err is nil if the daemon ended the stream in order; Follow again after the last ID.
func (f *Follower) Err() error { return f.err }

// Close ends it.
func (f *Follower) Close() {
	f.cancel()
	f.body.Close()
}
