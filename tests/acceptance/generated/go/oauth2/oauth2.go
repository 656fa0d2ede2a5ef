// Package oauth2 stands in for the library that generated clients import and this test never calls.
package oauth2

import "net/http"

type Token struct{}

func (*Token) SetAuthHeader(*http.Request) {}

type TokenSource interface{ Token() (*Token, error) }
