// Package arch holds the rules of the house as tests: who may import whom, how
// migrations are numbered, and what the container image promises. It has no
// code of its own.
package arch
