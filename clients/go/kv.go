package deja

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// KV are plain keys: values under names, without any meaning. []byte is kept as it is, a string as text,
// everything else as JSON; Get reads them back. Namespace and user are those of the client.
type KV struct{ c *Client }

// Value is what a plain key holds, and what is known of it.
type Value struct {
	Data      []byte
	MediaType string
	TTL       time.Duration // what is left; 0: it never ends
	ETag      string        // for IfMatch
	Tier      string
	AsOf      int64 // for the Set of what is computed from here on
}

func isJSON(mediaType string) bool {
	kind, _, _ := strings.Cut(mediaType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

func encode(value any) (mediaType string, data []byte, err error) {
	switch value := value.(type) {
	case []byte:
		return "application/octet-stream", value, nil
	case string:
		return "text/plain; charset=utf-8", []byte(value), nil
	}
	if data, err = marshal(value); err != nil {
		return "", nil, invalid("the value has no JSON form: " + err.Error())
	}
	return "application/json", data, nil
}

// Decode reads the value into out: the bytes into a *[]byte, the text into a *string, JSON into
// everything else; an *any gets what was put.
func (v Value) Decode(out any) error {
	isJSON := isJSON(v.MediaType)
	switch out := out.(type) {
	case *[]byte:
		*out = v.Data
		return nil
	case *string:
		if !isJSON || json.Unmarshal(v.Data, out) != nil {
			*out = string(v.Data)
		}
		return nil
	case *any:
		if !isJSON && strings.HasPrefix(v.MediaType, "text/plain") {
			*out = string(v.Data)
			return nil
		}
		if !isJSON {
			*out = v.Data
			return nil
		}
	}
	return json.Unmarshal(v.Data, out)
}

func (kv KV) at(method, key string) request {
	r := request{method: method, path: "/api/v1/kv/" + url.PathEscape(key), header: map[string]string{}}
	if key == "" {
		r.err = invalid("a key has 1 to 4,096 bytes, this one is empty")
	} else if strings.Trim(key, ".") == "" {
		r.err = invalid("a key of only dots cannot be in a path: use Batch")
	}
	return r
}

// Fetch reads a key and what is known of it; of one that is not there, AsOf.
func (kv KV) Fetch(ctx context.Context, key string) (Value, bool, error) {
	return kv.fetch(ctx, key, nil)
}

// FetchVersion reads the value that was put with that Version: one of the last two.
func (kv KV) FetchVersion(ctx context.Context, key, version string) (Value, bool, error) {
	return kv.fetch(ctx, key, url.Values{"version": {version}})
}

func (kv KV) fetch(ctx context.Context, key string, params url.Values) (Value, bool, error) {
	r := kv.at("GET", key)
	r.params = params
	answer, err := kv.c.send(ctx, r, http.StatusNotFound)
	if err != nil {
		return Value{}, false, err
	}
	asOf, _ := strconv.ParseInt(answer.header.Get("X-Deja-As-Of"), 10, 64)
	if answer.status == http.StatusNotFound {
		return Value{AsOf: asOf}, false, nil
	}
	left, _ := strconv.ParseFloat(answer.header.Get("X-Deja-TTL"), 64)
	return Value{
		Data:      answer.body,
		MediaType: answer.header.Get("Content-Type"),
		TTL:       time.Duration(left * float64(time.Second)),
		ETag:      answer.header.Get("ETag"),
		Tier:      answer.header.Get("X-Cache-Tier"),
		AsOf:      asOf,
	}, true, nil
}

// Get reads a key as a T.
func Get[T any](ctx context.Context, c *Client, key string) (value T, found bool, err error) {
	kept, found, err := c.KV.Fetch(ctx, key)
	if err != nil || !found {
		return value, false, err
	}
	if err := kept.Decode(&value); err != nil {
		return value, false, unreadable(err)
	}
	return value, true, nil
}

// SetOptions say how a value is kept.
type SetOptions struct {
	TTL       time.Duration // Forever: it never ends; 0: as its kind has it, else an hour
	Tags      []string      // without commas
	DependsOn []string      // what it was made from; without commas
	Kind      string        // of a key whose name does not tell it
	Version   string        // a name of this value
	IfAbsent  bool          // only if nothing is there
	IfMatch   string        // only if that ETag is there; "*": if something is
	AsOf      int64         // of the Fetch that it was computed for: not if it was made void since
}

// Set keeps a value; false: the condition did not hold, or it was made void since AsOf.
func (kv KV) Set(ctx context.Context, key string, value any, options ...SetOptions) (bool, error) {
	o, r := first(options), kv.at("PUT", key)
	var err error
	if r.header["Content-Type"], r.body, err = encode(value); err != nil {
		return false, err
	}
	for name, list := range map[string][]string{"X-Deja-Tags": o.Tags, "X-Deja-Depends-On": o.DependsOn} {
		if r.header[name] = strings.Join(list, ","); strings.Count(r.header[name], ",") >= max(1, len(list)) {
			return false, invalid("tags and names of what a plain key depends on have no commas: " + r.header[name])
		}
	}
	switch {
	case o.TTL == Forever:
		r.header["X-Deja-TTL"] = "0"
	case o.TTL != 0:
		r.header["X-Deja-TTL"] = strconv.FormatFloat(o.TTL.Seconds(), 'f', -1, 64)
	}
	r.header["X-Deja-Kind"], r.header["X-Deja-Version"], r.header["If-Match"] = o.Kind, o.Version, o.IfMatch
	if o.IfAbsent {
		r.header["If-None-Match"] = "*"
	}
	if o.AsOf != 0 {
		r.header["X-Deja-As-Of"] = strconv.FormatInt(o.AsOf, 10)
	}
	answer, err := kv.c.send(ctx, r, http.StatusPreconditionFailed)
	if err != nil || answer.status == http.StatusPreconditionFailed {
		return false, err
	}
	kept := struct{ Stored bool }{true} // what does not say so is kept
	_ = json.Unmarshal(answer.body, &kept)
	return kept.Stored, nil
}

// Merge changes a JSON object in place (RFC 7396); what is left of its life stays. False: no such key.
func (kv KV) Merge(ctx context.Context, key string, changes any) (bool, error) {
	body, err := marshal(changes)
	if err != nil {
		return false, invalid("the changes have no JSON form: " + err.Error())
	}
	r := kv.at("PATCH", key)
	r.header["Content-Type"], r.body = "application/merge-patch+json", body
	answer, err := kv.c.send(ctx, r, http.StatusNotFound)
	return err == nil && answer.status != http.StatusNotFound, err
}

// Expire gives a key another life, from now; Forever: it never ends. False: no such key.
func (kv KV) Expire(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if ttl == 0 {
		return false, invalid("a life of 0 is none: Delete the key, or say Forever")
	}
	expire := operation("expire", key)
	expire["ttl"] = seconds(ttl)
	result, err := kv.one(ctx, expire)
	return result.Stored, err
}

// TTL is what is left of a key's life, Forever, or false: no such key.
func (kv KV) TTL(ctx context.Context, key string) (time.Duration, bool, error) {
	result, err := kv.one(ctx, operation("ttl", key))
	if err != nil || !result.Found {
		return 0, false, err
	}
	if result.SecondsLeft == nil {
		return Forever, true, nil
	}
	return time.Duration(*result.SecondsLeft * float64(time.Second)), true, nil
}

// Delete removes a key, for a reason that the records have, if any; true: it was there.
func (kv KV) Delete(ctx context.Context, key string, reason ...string) (bool, error) {
	var out struct{ Removed int }
	r := kv.at("DELETE", key)
	r.params = why(reason)
	err := kv.c.ask(ctx, r, &out)
	return out.Removed > 0, err
}

// Exists tells whether a key is there.
func (kv KV) Exists(ctx context.Context, key string) (bool, error) {
	answer, err := kv.c.send(ctx, kv.at("HEAD", key), http.StatusNotFound)
	return err == nil && answer.status == http.StatusOK, err
}

// KeyInfo is a key of a list.
type KeyInfo struct {
	Key         string   `json:"key"`
	KeyBytes    []byte   `json:"key_base64"` // of a key that is no UTF-8; Key has the same bytes
	SecondsLeft *float64 `json:"ttl"`        // nil: for ever
	Size        int64    `json:"size"`
	Version     int64    `json:"version"`
}

// Keys lists the names that a pattern (* ? [abc] \x; "": all) matches, about limit of them (0: 100).
// Go on with the cursor it returns until that is "".
func (kv KV) Keys(ctx context.Context, pattern, cursor string, limit int) ([]KeyInfo, string, error) {
	params := given("pattern", or(pattern, "*"))
	for name, value := range map[string]string{"cursor": cursor, "limit": number(limit)} {
		if value != "" {
			params.Set(name, value)
		}
	}
	var out struct {
		Keys   []KeyInfo
		Cursor string
	}
	err := kv.c.Call(ctx, "GET", "/api/v1/kv", params, nil, &out)
	for i, key := range out.Keys {
		if len(key.KeyBytes) > 0 {
			out.Keys[i].Key = string(key.KeyBytes)
		}
	}
	return out.Keys, out.Cursor, err
}

func why(reason []string) url.Values {
	params := url.Values{}
	if len(reason) > 0 && reason[0] != "" {
		params.Set("reason", reason[0])
	}
	return params
}

// DeleteMatching removes what a pattern names, for a reason if any, or with dryRun only counts it.
func (kv KV) DeleteMatching(ctx context.Context, pattern string, dryRun bool, reason ...string) (int64, error) {
	params := why(reason)
	params.Set("pattern", pattern)
	return kv.clear(ctx, params, dryRun)
}

// Clear removes every key of the namespace, for a reason if any, or with dryRun only counts them.
func (kv KV) Clear(ctx context.Context, dryRun bool, reason ...string) (int64, error) {
	params := why(reason)
	params.Set("all", "true")
	return kv.clear(ctx, params, dryRun)
}

func (kv KV) clear(ctx context.Context, params url.Values, dryRun bool) (int64, error) {
	params.Set("dry_run", strconv.FormatBool(dryRun))
	var out struct {
		Removed     int64 `json:"removed"`
		WouldRemove int64 `json:"would_remove"`
	}
	err := kv.c.Call(ctx, "DELETE", "/api/v1/kv", params, nil, &out)
	return out.Removed + out.WouldRemove, err
}

// Result is what an operation of a batch came to.
type Result struct {
	Found       bool            `json:"found"`
	Exists      bool            `json:"exists"`
	Stored      bool            `json:"stored"`
	Removed     int             `json:"removed"`
	Value       json.RawMessage `json:"value"`        // JSON; a text as a JSON string
	Bytes       []byte          `json:"value_base64"` // in its place, of bytes that are no text
	Version     int64           `json:"version"`
	SecondsLeft *float64        `json:"ttl"`   // nil: for ever
	Err         *Error          `json:"error"` // it could not be done
}

// Decode reads the value into out, as Value.Decode does.
func (r Result) Decode(out any) error {
	kept := Value{Data: r.Value, MediaType: "application/json"}
	var text string
	if r.Bytes != nil {
		kept = Value{Data: r.Bytes}
	} else if _, wantsBytes := out.(*[]byte); wantsBytes && json.Unmarshal(r.Value, &text) == nil {
		kept.Data = []byte(text)
	}
	return kept.Decode(out)
}

// operation is one of a batch; the rest of it is added.
func operation(op, key string) Object {
	if !utf8.ValidString(key) {
		return Object{"op": op, "key_base64": []byte(key)}
	}
	return Object{"op": op, "key": key}
}

// Batch does up to 1,000 operations as the API has them, {"op": "get", "key": …}, also "merge", and "version" of a
// get or set, in their order; one that could not be done has its Err.
func (kv KV) Batch(ctx context.Context, operations []Object) ([]Result, error) {
	var out struct{ Results []Result }
	err := kv.c.Call(ctx, "POST", "/api/v1/kv:batch", nil, map[string]any{"operations": operations}, &out)
	if err == nil && len(out.Results) != len(operations) {
		err = unreadable(errors.New("it has not a result for each operation"))
	}
	return out.Results, err
}

// Incr adds to a counter, which begins at 0, and returns what it is then.
func (kv KV) Incr(ctx context.Context, key string, by int64) (count int64, err error) {
	incr := operation("incr", key)
	incr["by"] = by
	result, err := kv.one(ctx, incr)
	if err != nil {
		return 0, err
	}
	if err := result.Decode(&count); err != nil {
		return 0, unreadable(err)
	}
	return count, nil
}

// one is a batch of one, whose Err is the error.
func (kv KV) one(ctx context.Context, operation Object) (Result, error) {
	results, err := kv.Batch(ctx, []Object{operation})
	if err != nil {
		return Result{}, err
	}
	if results[0].Err != nil {
		return Result{}, results[0].Err
	}
	return results[0], nil
}

// GetMany reads up to 1,000 keys as Ts; those that are not there are not in the map.
func GetMany[T any](ctx context.Context, c *Client, keys ...string) (map[string]T, error) {
	operations := make([]Object, len(keys))
	for i, key := range keys {
		operations[i] = operation("get", key)
	}
	results, err := c.KV.Batch(ctx, operations)
	if err != nil {
		return nil, err
	}
	found := make(map[string]T, len(keys))
	for i, result := range results {
		var value T
		if result.Err != nil {
			return found, result.Err
		}
		if !result.Found {
			continue
		}
		if err := result.Decode(&value); err != nil {
			return found, unreadable(err)
		}
		found[keys[i]] = value
	}
	return found, nil
}

// SetMany keeps up to 1,000 values in one call; the error is that of the first that could not be kept.
func (kv KV) SetMany(ctx context.Context, values map[string]any, ttl time.Duration, tags ...string) error {
	operations := make([]Object, 0, len(values))
	for key, value := range values {
		set := operation("set", key)
		text, isText := value.(string)
		if bytes, ok := value.([]byte); ok || isText && !utf8.ValidString(text) {
			set["value_base64"] = append([]byte(text), bytes...) // never nil, which would be null
		} else {
			set["value"] = value
		}
		if ttl != 0 {
			set["ttl"] = seconds(ttl)
		}
		if len(tags) > 0 {
			set["tags"] = tags
		}
		operations = append(operations, set)
	}
	results, err := kv.Batch(ctx, operations)
	for _, result := range results {
		if err == nil && result.Err != nil {
			err = result.Err
		}
	}
	return err
}

// KeyName is a key in the form of its kind.
type KeyName struct {
	Key        string   `json:"key"`
	Kind       string   `json:"kind"`
	Hash       string   `json:"hash"`
	SecondsTTL *float64 `json:"ttl_s"` // nil: for ever
	Tags       []string `json:"tags"`
}

// Name makes a key in the form of its kind; nothing is stored. parts: id, fields, part, namespace, version,
// pattern; and what is hashed: text, operation, question, options, sql and args.
func (kv KV) Name(ctx context.Context, kind string, parts Object) (KeyName, error) {
	in := Object{}
	for name, part := range parts {
		in[name] = part
	}
	if kind != "" {
		in["kind"] = kind
	}
	var out KeyName
	err := kv.c.Call(ctx, "POST", "/api/v1/kv:key", nil, in, &out)
	return out, err
}

// Lock takes the lock beside a key, which ends by itself after lease (0: 30 s). False: somebody else
// has it. With the token of Lock, Hold begins the lease anew.
func (kv KV) Lock(ctx context.Context, key string, lease time.Duration) (token string, locked bool, err error) {
	return kv.lock(ctx, key, "", lease)
}

// Hold begins the lease of a lock anew; false: it was lost.
func (kv KV) Hold(ctx context.Context, key, token string, lease time.Duration) (bool, error) {
	_, locked, err := kv.lock(ctx, key, token, lease)
	return locked, err
}

func (kv KV) lock(ctx context.Context, key, token string, lease time.Duration) (string, bool, error) {
	in := Object{"key": key}
	if lease != 0 {
		in["lease"] = lease.Seconds()
	}
	if token != "" {
		in["token"] = token
	}
	var out struct {
		Locked bool
		Token  string
	}
	err := kv.c.Call(ctx, "POST", "/api/v1/kv:lock", nil, in, &out)
	return out.Token, out.Locked, err
}

// Unlock gives it back; true: it was held with that token.
func (kv KV) Unlock(ctx context.Context, key, token string) (bool, error) {
	var out struct{ Unlocked bool }
	err := kv.c.Call(ctx, "POST", "/api/v1/kv:unlock", nil, Object{"key": key, "token": token}, &out)
	return out.Unlocked, err
}

// Stats are those of plain keys.
func (kv KV) Stats(ctx context.Context) (Object, error) {
	return kv.c.object(ctx, "GET", "/api/v1/kv:stats", nil, nil)
}
