package deja

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// What a program would do about an error, for errors.Is.
var (
	ErrUnavailable = errors.New("deja: not reached, too slow, or not able to: go on without the cache")
	ErrLimited     = errors.New("deja: too many requests") // also ErrUnavailable
	ErrDenied      = errors.New("deja: the key is wrong, or may not do this")
	ErrNotFound    = errors.New("deja: there is no such thing")
	ErrInvalid     = errors.New("deja: the call itself is wrong")
)

// Field is what was wrong with one member of a request.
type Field struct {
	Field   string `json:"field"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
}

// Error is what a call ends with that failed: the problem (RFC 9457) the daemon told, or why none came.
type Error struct {
	Type       string        `json:"type"`   // its name, "rate_limited" for example; "unreachable", "unreadable": no answer
	Status     int           `json:"status"` // of HTTP; 0: there was no answer
	Title      string        `json:"title"`
	Detail     string        `json:"detail"`
	RequestID  string        `json:"request_id"`
	Fields     []Field       `json:"fields"`
	RetryAfter time.Duration `json:"-"` // how long to wait; 0: it was not said
	Err        error         `json:"-"` // what was below it, if there was no answer
}

func (e *Error) Error() string {
	text := "deja: " + e.Detail
	for _, field := range e.Fields {
		text += fmt.Sprintf(" (%s: %s)", field.Field, field.Message)
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Is tells which of ErrUnavailable, ErrLimited, ErrDenied, ErrNotFound, ErrInvalid it is.
func (e *Error) Is(target error) bool {
	switch s := e.Status; {
	case s == http.StatusTooManyRequests:
		return target == ErrLimited || target == ErrUnavailable
	case s == 0 || s >= 500 || s == http.StatusRequestTimeout:
		return target == ErrUnavailable
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return target == ErrDenied
	case s == http.StatusNotFound:
		return target == ErrNotFound
	}
	return target == ErrInvalid
}

func unreached(err error) *Error {
	var outer *url.Error // says method and address again
	reason := err
	if errors.As(err, &outer) {
		reason = outer.Err
	}
	return &Error{Type: "unreachable", Detail: "Deja was not reached: " + reason.Error(), Err: err}
}

func unreadable(err error) *Error {
	return &Error{Type: "unreadable", Detail: "the answer is not one of Deja: " + err.Error(), Err: err}
}

func invalid(detail string) *Error {
	return &Error{Type: "invalid_request", Status: http.StatusBadRequest, Detail: detail}
}

// problem is the error that an answer of a status from 400 on stands for.
func problem(status int, header http.Header, body []byte) *Error {
	e := &Error{}
	if json.Unmarshal(body, e) != nil {
		e = &Error{}
	}
	e.Status = status
	if e.Detail == "" {
		e.Detail = fmt.Sprintf("HTTP status %d %s", status, http.StatusText(status))
	}
	if wait, err := strconv.Atoi(header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(wait) * time.Second
	}
	return e
}
