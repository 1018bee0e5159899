package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// installTimeout bounds the distribution's package manager.
const installTimeout = 10 * time.Minute

// An aptPackage installs PostgreSQL on Debian and its relatives. Its fields are
// the outside world.
type aptPackage struct {
	root string // "/"
	uid  int
	run  func(ctx context.Context, program string, args ...string) error
}

// InstallPackage installs the distribution's PostgreSQL when we are root on
// Debian or a relative of it, without the cluster that the package would
// otherwise make and start. It tells say in one line before it does. Elsewhere
// it returns an error that says why not.
func InstallPackage(ctx context.Context, say func(line string)) error {
	return aptPackage{root: "/", uid: os.Geteuid(), run: runApt}.install(ctx, say)
}

func (p aptPackage) install(ctx context.Context, say func(line string)) error {
	if p.uid != 0 {
		return errors.New("not root")
	}
	if _, err := os.Stat(filepath.Join(p.root, "etc/debian_version")); err != nil {
		return errors.New("not a Debian system")
	}
	say("installing the package postgresql (without a cluster of its own) with apt-get")
	ctx, cancel := context.WithTimeoutCause(ctx, installTimeout, fmt.Errorf("no end after %s", installTimeout))
	defer cancel()
	if err := p.forbidCluster(); err != nil {
		return err
	}
	// An index that cannot be refreshed may still know the package.
	updated := p.run(ctx, "apt-get", "-q", "update")
	if err := p.run(ctx, "apt-get", "-q", "-y", "--no-install-recommends", "install", "postgresql"); err != nil {
		return errors.Join(err, updated)
	}
	return nil
}

// forbidCluster tells postgresql-common, before it is installed, not to make a
// cluster: /etc/postgresql-common/createcluster.d is included by its
// configuration (postgresql-common, pg_createcluster(1)).
func (p aptPackage) forbidCluster() error {
	dir := filepath.Join(p.root, "etc/postgresql-common/createcluster.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const settings = "# contauth runs a private cluster; the package needs none.\ncreate_main_cluster = false\n"
	return os.WriteFile(filepath.Join(dir, "contauth.conf"), []byte(settings), 0o644)
}

func runApt(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, reasonIn(string(output)))
	}
	return nil
}
