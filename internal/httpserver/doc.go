// Package httpserver serves routes with bounded times and sizes, and stops in
// good order. Every route says who may call it.
package httpserver
