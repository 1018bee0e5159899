package postgres_test

import (
	"os"
	"testing"

	"github.com/contauth/contauth/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
