package deja

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// PutOptions say more of an entry.
type PutOptions struct {
	TTL        time.Duration `json:"-"` // else as the server has it
	Tags       []string      `json:"tags,omitempty"`
	DependsOn  []string      `json:"depends_on,omitempty"` // what it was made from
	Namespace  string        `json:"namespace,omitempty"`
	Metadata   Object        `json:"metadata,omitempty"`
	Model      string        `json:"model,omitempty"`
	Provider   string        `json:"provider,omitempty"`
	Type       string        `json:"type,omitempty"`
	Kind       string        `json:"kind,omitempty"`
	Version    string        `json:"version,omitempty"`
	Confidence float64       `json:"confidence,omitempty"`
	Cost       float64       `json:"cost,omitempty"`   // US dollars
	Tokens     *Tokens       `json:"tokens,omitempty"` // what its making took
	Embedding  []float32     `json:"embedding,omitempty"`
	Embedder   string        `json:"embedder,omitempty"` // who made the vector, unless the daemon's own
	Name       string        `json:"name,omitempty"`     // of a vector without a query
	Require    string        `json:"require,omitempty"`  // "shared": every shared tier must have it
	AsOf       int64         `json:"as_of,omitempty"`    // of the miss it was computed for: not if it was made void since
}

// Tokens of a request and its answer.
type Tokens struct {
	Input  int64 `json:"input"`
	Output int64 `json:"output"`
}

// Item is an entry to be put: a question and its answer, which is any JSON.
type Item struct {
	Query    string
	Response any
	PutOptions
}

// MarshalJSON is the form of PUT /api/v1/entries.
func (i Item) MarshalJSON() ([]byte, error) {
	type plain PutOptions
	return marshal(struct {
		Query    string `json:"query,omitempty"`
		Response any    `json:"response"`
		plain
		TTL any `json:"ttl,omitempty"`
	}{i.Query, i.Response, plain(i.PutOptions), seconds(i.TTL)})
}

// PutResult is what became of an entry.
type PutResult struct {
	ID           string    `json:"id"`
	Version      int64     `json:"version"`
	ExpiresAt    time.Time `json:"expires_at"`
	Stored       *bool     `json:"stored"` // false: overtaken, or not admitted for the Reason; nil: it is kept
	Reason       string    `json:"reason"`
	TiersMissing []string  `json:"tiers_missing"`
	Sensitive    []string  `json:"sensitive"`
	Redacted     bool      `json:"redacted"`
	Err          *Error    `json:"error"` // of a batch: this one could not be stored
}

// Entry is one that is kept.
type Entry struct {
	ID          string          `json:"id"`
	Version     int64           `json:"version"`
	EntryKind   string          `json:"entry_kind"` // "api", "chat", …
	Query       string          `json:"query"`
	Response    json.RawMessage `json:"response"`
	Namespace   string          `json:"namespace"`
	Tags        []string        `json:"tags"`
	DependsOn   []string        `json:"depends_on"`
	Metadata    Object          `json:"metadata"`
	Model       string          `json:"model"`
	Provider    string          `json:"provider"`
	Type        string          `json:"type"`
	Kind        string          `json:"content_kind"`
	WriterLabel string          `json:"content_version"` // Version of its PutOptions
	Name        string          `json:"name"`
	Confidence  float64         `json:"confidence"`
	Cost        float64         `json:"cost"`
	Tokens      Tokens          `json:"tokens"`
	CreatedAt   time.Time       `json:"created_at"`
	ExpiresAt   time.Time       `json:"expires_at"` // zero: never
	AgeSeconds  int64           `json:"age_s"`
	Hits        int64           `json:"hits"`
	Redacted    bool            `json:"redacted"`
	Similarity  float64         `json:"similarity"` // to what was asked
	SecondsLeft *int64          `json:"ttl_s"`      // nil: for ever
}

// Decode reads the response into out.
func (e *Entry) Decode(out any) error { return json.Unmarshal(e.Response, out) }

// LookupOptions say what may answer.
type LookupOptions struct {
	Threshold float64       `json:"threshold,omitempty"` // of the similarity, up to 1; else as the server has it
	Namespace string        `json:"namespace,omitempty"`
	MaxAge    time.Duration `json:"-"`
	Filter    Object        `json:"filter,omitempty"` // {"lang": "en", "score": {"gte": 0.5}}
	Valid     Object        `json:"valid,omitempty"`  // what it must be of: model, provider, type, version, …
	Limit     int           `json:"limit,omitempty"`  // up to so many Candidates, 100 at most
	Responses bool          `json:"responses,omitempty"`
	Kind      string        `json:"kind,omitempty"`
	Embedding []float32     `json:"embedding,omitempty"`
	Embedder  string        `json:"embedder,omitempty"`
}

// Question is something to be looked up.
type Question struct {
	Query string
	LookupOptions
}

// MarshalJSON is the form of POST /api/v1/lookup.
func (q Question) MarshalJSON() ([]byte, error) {
	type plain LookupOptions
	return marshal(struct {
		Query string `json:"query,omitempty"`
		plain
		MaxAge any `json:"max_age,omitempty"`
	}{q.Query, plain(q.LookupOptions), seconds(q.MaxAge)})
}

// Found is what a look-up came to: the Entry of a hit, or the Reason of a miss.
type Found struct {
	Entry
	Hit        bool    `json:"hit"`
	How        string  `json:"kind"` // "exact", "normalized", "semantic"
	Tier       string  `json:"tier"`
	Threshold  float64 `json:"threshold"`
	Reason     string  `json:"reason"`
	AsOf       int64   `json:"as_of"`      // of a miss: for the Put of what is computed from here on
	Candidates []Entry `json:"candidates"` // with a Limit: what is near enough, best first
	Err        *Error  `json:"error"`      // of a batch: this one could not be asked
}

func first[T any](given []T) (one T) {
	if len(given) > 0 {
		one = given[0]
	}
	return one
}

func or(said, otherwise string) string {
	if said == "" {
		return otherwise
	}
	return said
}

// Lookup finds the answer of a question by its words or its meaning.
func (c *Client) Lookup(ctx context.Context, query string, options ...LookupOptions) (Found, bool, error) {
	question := Question{query, first(options)}
	question.Namespace = or(question.Namespace, c.options.Namespace)
	var found Found
	err := c.Call(ctx, "POST", "/api/v1/lookup", nil, question, &found)
	return found, err == nil && found.Hit, err
}

// LookupMany answers up to 100 in order; one that could not be asked has its Err.
func (c *Client) LookupMany(ctx context.Context, questions []Question) ([]Found, error) {
	asked := make([]Question, len(questions))
	for i, question := range questions {
		question.Namespace = or(question.Namespace, c.options.Namespace)
		asked[i] = question
	}
	var out struct{ Results []Found }
	err := c.Call(ctx, "POST", "/api/v1/lookup", nil, map[string]any{"queries": asked}, &out)
	return out.Results, err
}

// Similar lists up to limit entries near to the query, best first. They are found, not served: no
// guard has looked at them.
func (c *Client) Similar(ctx context.Context, query string, limit int, options ...LookupOptions) ([]Entry, error) {
	wanted := first(options)
	wanted.Limit, wanted.Responses = limit, true
	found, _, err := c.Lookup(ctx, query, wanted)
	return found.Candidates, err
}

// Put keeps an answer, any JSON, under its question.
func (c *Client) Put(ctx context.Context, query string, response any, options ...PutOptions) (PutResult, error) {
	item := Item{query, response, first(options)}
	item.Namespace = or(item.Namespace, c.options.Namespace)
	var put PutResult
	err := c.Call(ctx, "PUT", "/api/v1/entries", nil, item, &put)
	return put, err
}

// PutMany keeps up to 100; one that could not be stored has its Err.
func (c *Client) PutMany(ctx context.Context, items []Item) ([]PutResult, error) {
	sent := make([]Item, len(items))
	for i, item := range items {
		item.Namespace = or(item.Namespace, c.options.Namespace)
		sent[i] = item
	}
	var out struct{ Results []PutResult }
	err := c.Call(ctx, "PUT", "/api/v1/entries", nil, map[string]any{"entries": sent}, &out)
	return out.Results, err
}

// GetEntry reads the whole entry of an id.
func (c *Client) GetEntry(ctx context.Context, id string) (Entry, bool, error) {
	var entry Entry
	answer, err := c.send(ctx, request{method: "GET", path: "/api/v1/entries/" + url.PathEscape(id)}, http.StatusNotFound)
	if err != nil || answer.status == http.StatusNotFound {
		return entry, false, err
	}
	if err := json.Unmarshal(answer.body, &entry); err != nil {
		return entry, false, unreadable(err)
	}
	return entry, true, nil
}

// DeleteEntry removes the entry of an id, for a reason that the records have, if any; true: it was there.
func (c *Client) DeleteEntry(ctx context.Context, id string, reason ...string) (bool, error) {
	return c.remove(ctx, "/api/v1/entries/"+url.PathEscape(id), why(reason))
}

func (c *Client) remove(ctx context.Context, path string, params url.Values) (bool, error) {
	answer, err := c.send(ctx, request{method: "DELETE", path: path, params: params}, http.StatusNotFound)
	return err == nil && answer.status != http.StatusNotFound, err
}

// Feedback tells whether an entry (its ID, or the X-Cache-Id of an answer) was right. A wrong one is
// withdrawn at once.
func (c *Client) Feedback(ctx context.Context, id string, right bool) error {
	verdict := map[bool]string{true: "right", false: "wrong"}[right]
	return c.Call(ctx, "POST", "/api/v1/feedback", nil, Object{"entry": id, "verdict": verdict}, nil)
}

// Explain tells why a question would hit or miss.
func (c *Client) Explain(ctx context.Context, query string) (Object, error) {
	params := given("namespace", c.options.Namespace)
	params.Set("query", query)
	return c.object(ctx, "GET", "/api/v1/explain", params, nil)
}
