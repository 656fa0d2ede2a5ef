// Package validator stands in for the library that generated clients import; no schema asks it for anything.
package validator

func Validate(any) error { return nil }
