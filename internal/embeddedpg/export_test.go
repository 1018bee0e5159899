package embeddedpg

import "context"

// What the tests need from inside.

var (
	ParsePIDFile = parsePIDFile
	ParseMajor   = parseMajor
)

const SocketPathLimit = socketPathLimit

// InstallApt is InstallPackage in a world of the test's own.
func InstallApt(ctx context.Context, root string, uid int, run func(ctx context.Context, program string, args ...string) error, say func(string)) error {
	return aptPackage{root: root, uid: uid, run: run}.install(ctx, say)
}

// SocketDir is where the server listens.
func (s *Server) SocketDir() string { return s.cluster.socketDir }

// Runs reports whether process pid is the server of the cluster in this
// directory: a process that has ended but was not collected yet is not.
func (s *Server) Runs(pid int) bool { return isServerOf(pid, s.cluster.dataDir()) }
