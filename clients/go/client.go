// Package deja is a client of Deja, the semantic cache of AI applications. Standard library only.
//
//	cache := deja.New(deja.Options{}) // $DEJA_SERVER, $DEJA_KEY, else this machine's daemon
//	loadUser := deja.Cacheable(cache, deja.Rules[int]{
//		Key: func(id int) string { return deja.Key("user", id) },
//		TTL: 5 * time.Minute,
//	}, readUserFromDatabase)
//
// A miss is no error: what looks for something returns (value, false, nil). What failed returns an
// *Error. A function wrapped by Cacheable, CachePut or CacheEvict never fails because of the cache.
package deja

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	userAgent = "deja-client-go/0.1.0"
	bodyMax   = 1 << 30 // of an answer
)

// Forever is the TTL of a plain key that never ends.
const Forever time.Duration = -1

// Object is a JSON object as the API has it.
type Object = map[string]any

// Options of a client; all may be left out.
type Options struct {
	Server    string        // else $DEJA_SERVER, else http://127.0.0.1:7070
	Key       string        // else $DEJA_KEY, else none
	Tenant    string        // X-Deja-Tenant: whom an administrator acts for
	User      string        // X-Deja-User: what it stores nobody else of the tenant finds
	Namespace string        // of every call that names none
	Timeout   time.Duration // of a whole call, 2 s; a cache that takes longer is no help
	HTTP      *http.Client  // else one of its own, which keeps connections open
	OnError   func(error)   // what a wrapped function went on without; else it is logged
}

// Client speaks to one daemon. It may be used by many goroutines; keep one for the whole program.
type Client struct {
	KV      KV // plain keys
	options Options
	flights *flights
}

// New makes a client; nothing is sent.
func New(options Options) *Client {
	if options.Server == "" {
		options.Server = os.Getenv("DEJA_SERVER")
	}
	if options.Server == "" {
		options.Server = "http://127.0.0.1:7070"
	}
	options.Server = strings.TrimRight(options.Server, "/")
	if options.Key == "" {
		options.Key = os.Getenv("DEJA_KEY")
	}
	if options.Timeout == 0 {
		options.Timeout = 2 * time.Second
	}
	if options.HTTP == nil {
		options.HTTP = &http.Client{}
		if standard, ok := http.DefaultTransport.(*http.Transport); ok {
			transport := standard.Clone()
			transport.MaxIdleConnsPerHost = 64 // the standard's 2 would open one for most concurrent calls
			options.HTTP.Transport = transport
		}
	}
	if options.OnError == nil {
		options.OnError = func(err error) { log.Printf("deja: going on without the cache: %v", err) }
	}
	return with(options, &flights{running: map[place]*flight{}})
}

func with(options Options, flights *flights) *Client {
	c := &Client{options: options, flights: flights}
	c.KV = KV{c}
	return c
}

// In is the same client for another namespace.
func (c *Client) In(namespace string) *Client {
	options := c.options
	options.Namespace = namespace
	return with(options, c.flights)
}

// As is the same client for a user of the tenant.
func (c *Client) As(user string) *Client {
	options := c.options
	options.User = user
	return with(options, c.flights)
}

type request struct {
	method, path string
	params       url.Values
	header       map[string]string
	json         any    // else
	body         []byte // with its content-type in header
	err          error  // told in place of sending it
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// open sends the request; the body of the answer is the caller's to close.
func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	if r.err != nil {
		return nil, r.err
	}
	body, address := r.body, c.options.Server+r.path
	if len(r.params) > 0 {
		address += "?" + r.params.Encode()
	}
	if r.json != nil {
		var err error
		if body, err = marshal(r.json); err != nil {
			return nil, invalid("what was to be sent has no JSON form: " + err.Error())
		}
	}
	sent, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(body))
	if err != nil {
		return nil, unreached(err)
	}
	set := func(name, value string) {
		if value != "" {
			sent.Header.Set(name, value)
		}
	}
	set("User-Agent", userAgent)
	set("X-Deja-Tenant", c.options.Tenant)
	set("X-Deja-User", c.options.User)
	if c.options.Key != "" {
		set("Authorization", "Bearer "+c.options.Key)
	}
	if r.json != nil {
		set("Content-Type", "application/json")
	}
	if strings.HasPrefix(r.path, "/api/v1/kv") {
		set("X-Deja-Namespace", c.options.Namespace)
	}
	for name, value := range r.header {
		set(name, value)
	}
	answer, err := c.options.HTTP.Do(sent)
	if err != nil {
		return nil, unreached(err)
	}
	return answer, nil
}

// send is a whole call; a status among misses is an answer, not an error.
func (c *Client) send(ctx context.Context, r request, misses ...int) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	answer, err := c.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(http.MaxBytesReader(nil, answer.Body, bodyMax))
	if err != nil {
		return nil, unreached(err)
	}
	failed := answer.StatusCode >= 400
	for _, status := range misses {
		failed = failed && status != answer.StatusCode
	}
	if failed {
		return nil, problem(answer.StatusCode, answer.Header, body)
	}
	return &response{answer.StatusCode, answer.Header, body}, nil
}

// ask sends the request and reads the JSON of the answer into out.
func (c *Client) ask(ctx context.Context, r request, out any) error {
	answer, err := c.send(ctx, r)
	if err != nil || out == nil || len(answer.body) == 0 {
		return err
	}
	if err := json.Unmarshal(answer.body, out); err != nil {
		return unreadable(err)
	}
	return nil
}

// Call reaches any route of /openapi.json. in: sent as JSON, unless nil; out: what the answer is read
// into, unless nil.
func (c *Client) Call(ctx context.Context, method, path string, params url.Values, in, out any) error {
	return c.ask(ctx, request{method: method, path: path, params: params, json: in}, out)
}

func (c *Client) object(ctx context.Context, method, path string, params url.Values, in any) (Object, error) {
	var out Object
	err := c.Call(ctx, method, path, params, in, &out)
	return out, err
}

// Ping tells whether a daemon answers.
func (c *Client) Ping(ctx context.Context) bool {
	return c.Call(ctx, "GET", "/livez", nil, nil, nil) == nil
}

// Stats is what the cache did and saved; period, "24h" for example, if it is not "": in that time, by kind.
func (c *Client) Stats(ctx context.Context, period string) (Object, error) {
	return c.object(ctx, "GET", "/api/v1/stats", given("period", period), nil)
}

// Top lists the entries that were served most often; limit 0: as many as the daemon has it.
func (c *Client) Top(ctx context.Context, limit int) ([]Entry, error) {
	var out struct{ Entries []Entry }
	err := c.Call(ctx, "GET", "/api/v1/top", given("k", number(limit)), nil, &out)
	return out.Entries, err
}

// Limits are those of the tenant, and what is used of them.
func (c *Client) Limits(ctx context.Context) (Object, error) {
	return c.object(ctx, "GET", "/api/v1/limits", nil, nil)
}

// Kinds tells what kinds of plain keys there are, how long each lives where, and what they have saved.
func (c *Client) Kinds(ctx context.Context) ([]Object, error) {
	var out struct{ Kinds []Object }
	err := c.Call(ctx, "GET", "/api/v1/kinds", nil, nil, &out)
	return out.Kinds, err
}

// Patterns tells how many plain keys there are of each form, how large they are, how often they are found.
func (c *Client) Patterns(ctx context.Context) (Object, error) {
	return c.object(ctx, "GET", "/api/v1/patterns", nil, nil)
}

// Export writes the tenant's entries as lines of JSON, from cursor on ("": from the beginning). If it
// fails, the cursor it returns is where to go on: what comes from there on was not written yet.
func (c *Client) Export(ctx context.Context, w io.Writer, cursor string, vectors bool) (string, error) {
	for {
		params := given("cursor", cursor)
		params.Set("vectors", strconv.FormatBool(vectors))
		answer, err := c.send(ctx, request{method: "GET", path: "/api/v1/export", params: params})
		if err != nil {
			return cursor, err
		}
		if _, err = w.Write(answer.body); err != nil {
			return cursor, err
		}
		if cursor = answer.header.Get("X-Deja-Cursor"); cursor == "" {
			return "", nil
		}
	}
}

func given(name, value string) url.Values {
	if value == "" {
		return url.Values{}
	}
	return url.Values{name: {value}}
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// seconds are a duration as the API has it; nil: it was not said.
func seconds(d time.Duration) any {
	switch d {
	case 0:
		return nil
	case Forever:
		return 0
	}
	return d.Seconds()
}

// marshal makes JSON in which <, > and & stay as they are.
func marshal(value any) ([]byte, error) {
	var made bytes.Buffer
	encoder := json.NewEncoder(&made)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(made.Bytes(), []byte("\n")), nil
}
