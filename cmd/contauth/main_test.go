package main

import (
	"os"
	"testing"

	"github.com/contauth/contauth/internal/pgtest"
)

// asProgram makes this test binary behave as contauth itself, so that tests
// can start and kill real processes of the very code under test.
const asProgram = "CONTAUTH_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(pgtest.Main(m))
}
