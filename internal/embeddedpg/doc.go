// Package embeddedpg runs a private Postgres in a directory, for whoever has no
// database yet: the demo, local work and the tests, and small installations
// whose configuration says embedded://DIR.
//
// A directory holds one cluster and everything about it:
//
//	DIR/cluster/       the data, owned by the account that runs the server
//	DIR/run/           the Unix socket, mode 0700 (a link, where the path would be too long)
//	DIR/postgres.log   what the server says; the former file is postgres.log.1
//	DIR/lock           held shared by every process that uses the server
//	DIR/gate           held exclusively while the server is started, recovered or stopped
//
// # Who starts, who stops
//
// Any number of processes may share a directory. Starting, repairing and
// leaving all happen behind the gate, one process at a time:
//
//   - whoever comes takes the gate, then its share of the lock, starts the
//     server if none answers, and opens the gate;
//   - whoever leaves takes the gate and tries to turn its share of the lock into
//     an exclusive hold. If that works it is the last one and stops the server;
//     if not, it just gives its share up.
//
// A newcomer therefore waits until the last leaver has finished stopping, and
// then starts afresh: no process is ever handed a server that is on its way out.
// The kernel drops both locks of a process that is killed. A server that
// outlives its users that way is found and reused by the next one.
//
// # Safety of the data
//
// The server keeps fsync and synchronous_commit on. It runs in its own session,
// so that Ctrl-C in a terminal never reaches it. A cluster is made beside its
// place and moved there when whole, so that being killed half-way leaves nothing
// that could be mistaken for one.
//
// # Who may connect
//
// There is no TCP. The socket lies in a directory of mode 0700, so only the
// account that owns the data, and root, can reach it: exactly those who could
// read the files themselves. Behind that door Postgres asks for nothing more
// (trust); peer authentication would add no one else, and fails in containers
// whose user id has no name.
package embeddedpg
