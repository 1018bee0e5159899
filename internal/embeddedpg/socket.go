package embeddedpg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// socketPort is part of the socket's name, and nothing else.
	socketPort = 5432
	socketName = ".s.PGSQL.5432"
	// socketPathLimit is the longest path of a socket that works everywhere:
	// Linux takes 107 bytes, macOS 103.
	socketPathLimit = 100
)

// placeSocket decides where the socket lies: in DIR/run, or, where that is too
// long a name for a socket, in a directory under the temporary one, with a link
// to it in DIR/run, which tells all later comers the same place.
func (c *cluster) placeSocket() error {
	run := filepath.Join(c.dir, "run")
	if len(filepath.Join(run, socketName)) <= socketPathLimit {
		c.socketDir = run
		return nil
	}
	target, err := os.Readlink(run)
	if errors.Is(err, fs.ErrNotExist) {
		target = filepath.Join(os.TempDir(), shortName(c.dir))
		err = os.Symlink(target, run)
	}
	if err != nil {
		return fmt.Errorf("link to the socket's directory: %w", err)
	}
	if path := filepath.Join(target, socketName); len(path) > socketPathLimit {
		return fmt.Errorf("the path of the socket is too long (%s): choose a shorter directory or set TMPDIR to one", path)
	}
	c.socketDir = target
	return nil
}

// shortName is a name for dir that no other directory has.
func shortName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "contauth-" + hex.EncodeToString(sum[:8])
}
