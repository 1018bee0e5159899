package embeddedpg_test

import (
	"testing"

	"github.com/contauth/contauth/internal/embeddedpg"
)

func TestParsePIDFile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, content string
		pid           int
		ready         bool
	}{
		{"ready", "7244\n/data\n1795253615\n5432\n/run\n\n 10051923         9\nready   \n", 7244, true},
		{"starting", "7244\n/data\n1795253615\n5432\n/run\n\n 10051923         9\nstarting\n", 7244, false},
		{"just begun", "7244\n/data\n", 7244, false},
		{"single user, who writes a negative number", "-7244\n/data\n", 0, false},
		{"empty", "", 0, false},
		{"something else", "hello\n", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if pid, ready := embeddedpg.ParsePIDFile(tt.content); pid != tt.pid || ready != tt.ready {
				t.Errorf("ParsePIDFile = %d, %t, want %d, %t", pid, ready, tt.pid, tt.ready)
			}
		})
	}
}

func FuzzParsePIDFile(f *testing.F) {
	f.Add("7244\n/data\n1795253615\n5432\n/run\n\n 10051923         9\nready   \n")
	f.Add("")
	f.Fuzz(func(t *testing.T, content string) {
		pid, ready := embeddedpg.ParsePIDFile(content)
		if pid < 0 || ready && pid == 0 {
			t.Errorf("ParsePIDFile(%q) = %d, %t: no process to signal", content, pid, ready)
		}
	})
}

func TestParseMajor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line string
		want       int
		wantErr    bool
	}{
		{"Debian", "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", 15, false},
		{"plain", "postgres (PostgreSQL) 17.5\n", 17, false},
		{"beta", "postgres (PostgreSQL) 19beta1\n", 19, false},
		{"another program", "psql (PostgreSQL) 15.18\n", 0, true},
		{"nothing", "", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := embeddedpg.ParseMajor(tt.line)
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("ParseMajor(%q) = %d, %v, want %d, error %t", tt.line, got, err, tt.want, tt.wantErr)
			}
		})
	}
}

func FuzzParseMajor(f *testing.F) {
	f.Add("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n")
	f.Fuzz(func(t *testing.T, line string) {
		if major, err := embeddedpg.ParseMajor(line); err == nil && major < 0 {
			t.Errorf("ParseMajor(%q) = %d", line, major)
		}
	})
}
