package embeddedpg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// createTimeout bounds making a cluster, which takes a second or two.
const createTimeout = 2 * time.Minute

// create makes the cluster with its database, beside its place, and moves it
// there when it is whole.
func (c *cluster) create(ctx context.Context, with binaries) error {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	unfinished := c.dataDir() + ".new"
	if err := os.RemoveAll(unfinished); err != nil { // left by a killed process: the gate is ours
		return fmt.Errorf("remove unfinished cluster: %w", err)
	}
	if err := c.account.makeDir(unfinished); err != nil {
		return err
	}
	if err := c.initialise(ctx, with, unfinished); err != nil {
		return err
	}
	if err := c.createDatabase(ctx, with, unfinished); err != nil {
		return err
	}
	if err := os.Rename(unfinished, c.dataDir()); err != nil {
		return fmt.Errorf("move new cluster into place: %w", err)
	}
	if err := syncDir(c.dir); err != nil {
		return err
	}
	c.log.Info("cluster created", "dir", c.dataDir(), "version", with.major, "user", c.account.name)
	return nil
}

// initialise runs initdb. Only the socket is ever open (see the package comment
// for why that suffices), and TCP is refused should somebody open it.
func (c *cluster) initialise(ctx context.Context, with binaries, dir string) error {
	cmd := newCommand(ctx, c.account, with.initdb(), "--username="+User,
		"--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=reject")
	if c.opts.Settings["fsync"] == "off" {
		cmd.Args = append(cmd.Args, "--no-sync")
	}
	data, release, err := cmd.path(dir)
	if err != nil {
		return err
	}
	defer release()
	cmd.Args = append(cmd.Args, "-D", data)
	return cmd.runQuietly("initdb")
}

// createDatabase makes the database in Postgres' single-user mode, before any
// server has run: a cluster in its place always has it.
func (c *cluster) createDatabase(ctx context.Context, with binaries, dir string) error {
	cmd := newCommand(ctx, c.account, with.postgres(), "--single")
	data, release, err := cmd.path(dir)
	if err != nil {
		return err
	}
	defer release()
	// exit_on_error: without it a failed statement still ends in success.
	cmd.Args = append(cmd.Args, "-D", data, "-c", "exit_on_error=on", "postgres")
	cmd.Stdin = strings.NewReader("CREATE DATABASE " + Database + "\n")
	return cmd.runQuietly("create database")
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	opened, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer opened.Close()
	if err := opened.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
