package embeddedpg

import (
	"context"
	"fmt"
)

// obtainBinaries finds Postgres' programs, or brings them here: from this
// machine, else from an earlier or a new download, else from the distribution's
// package. major is that of an existing cluster, or 0.
func obtainBinaries(ctx context.Context, opts Options, as account, major int) (binaries, error) {
	found, missing := findBinaries(ctx, opts.Places(ctx), as, major)
	if missing == nil {
		return found, nil
	}
	if ctx.Err() != nil { // the search was cut short, so nothing is missing yet
		return binaries{}, context.Cause(ctx)
	}
	found, download := downloadBinaries(ctx, opts, as, major)
	if download == nil {
		return found, nil
	}
	if ctx.Err() != nil {
		return binaries{}, context.Cause(ctx)
	}
	install := opts.Install(ctx, opts.Say)
	if install == nil {
		if found, err := findBinaries(ctx, opts.Places(ctx), as, major); err == nil {
			return found, nil
		} else {
			install = fmt.Errorf("installed, but %w", err)
		}
	}
	return binaries{}, fmt.Errorf("no Postgres to run: %s (found: %w; download: %w; package: %w)",
		whatToInstall(major), missing, download, install)
}

// whatToInstall tells a person what is missing.
func whatToInstall(major int) string {
	if major != 0 {
		return fmt.Sprintf("install PostgreSQL %d, which made this cluster, or set database.url to a server of your own", major)
	}
	return fmt.Sprintf("install PostgreSQL %d or newer (package postgresql on most systems), or set database.url to a server of your own", oldestMajor)
}
