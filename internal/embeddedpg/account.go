package embeddedpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An account is the operating system's user that runs the server and owns its
// files. It is ourselves, unless we are root: Postgres refuses to run as root.
type account struct {
	uid, gid uint32
	name     string
	other    bool // not ourselves: processes must be started as this account
}

// accountFor chooses who runs the server in dir: the present user; or, for root,
// whoever owns the cluster or the directory already, else the user postgres,
// else nobody.
func accountFor(dir string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{uid: uint32(uid), gid: uint32(os.Getegid()), name: userName(uint32(uid))}, nil
	}
	for _, path := range []string{filepath.Join(dir, clusterName), dir} {
		if owner, ok := ownerOf(path); ok && owner.uid != 0 {
			return owner, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if found, err := user.Lookup(name); err == nil {
			return accountOf(found)
		}
	}
	//lint:ignore ST1005 Postgres is a name
	return account{}, errors.New("Postgres does not run as root, and there is neither a user postgres nor a user nobody: make one, or start contauth as an ordinary user")
}

func accountOf(found *user.User) (account, error) {
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("user %s: %w", found.Username, err)
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("user %s: %w", found.Username, err)
	}
	return account{uid: uint32(uid), gid: uint32(gid), name: found.Username, other: true}, nil
}

// ownerOf returns the account that a file belongs to.
func ownerOf(path string) (account, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return account{}, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return account{}, false
	}
	return account{
		uid: stat.Uid, gid: stat.Gid, name: userName(stat.Uid),
		other: stat.Uid != uint32(os.Geteuid()),
	}, true
}

// userName returns a name for messages.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if found, err := user.LookupId(id); err == nil {
		return found.Username
	}
	return "with id " + id
}

// processAttributes makes a process run as the account, in a session of its own.
func (a account) processAttributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true}
	if a.other {
		attributes.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attributes
}

// give makes the file at path the account's own.
func (a account) give(path string) error {
	if !a.other {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give %s to user %s: %w", path, a.name, err)
	}
	return nil
}

// makeDir makes a directory that only the account can enter, or checks that the
// one that is there is such a directory. It does not follow a link: in a shared
// place, such as the temporary directory, somebody else may have put one.
func (a account) makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err == nil {
		return a.give(path)
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is in the way: it is not a directory", path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != a.uid {
		return fmt.Errorf("%s belongs to user %s, and not to user %s who runs Postgres there", path, userName(stat.Uid), a.name)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("close directory to others: %w", err)
	}
	return nil
}

// reaches reports whether the account may pass through every directory above
// path, judged by the permission bits alone. Where it is wrong (access lists),
// it errs on the side of false, and a false answer costs nothing but a detour.
func (a account) reaches(path string) bool {
	if !a.other {
		return true
	}
	for parent := filepath.Dir(path); ; parent = filepath.Dir(parent) {
		if !a.mayPass(parent) {
			return false
		}
		if parent == filepath.Dir(parent) {
			return true
		}
	}
}

func (a account) mayPass(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch {
	case stat.Uid == a.uid:
		return info.Mode()&0o100 != 0
	case stat.Gid == a.gid:
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}
