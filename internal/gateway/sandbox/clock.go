package sandbox

import (
	"sync/atomic"
	"time"
)

// A clock tells the sandbox's time, which dates the ledger and ages the keys.
// It is the machine's until somebody sets it; then it runs on from the instant
// it was set to, or stands still.
type clock struct {
	machine func() time.Time
	set     atomic.Pointer[clockSetting]
}

type clockSetting struct {
	to      time.Time
	at      time.Time // machine time when it was set
	stopped bool
}

func (c *clock) now() time.Time {
	setting := c.set.Load()
	switch {
	case setting == nil:
		return c.machine()
	case setting.stopped:
		return setting.to
	}
	return setting.to.Add(c.machine().Sub(setting.at))
}

func (c *clock) setTo(to time.Time, stopped bool) {
	c.set.Store(&clockSetting{to: to, at: c.machine(), stopped: stopped})
}

// reset gives the clock back to the machine.
func (c *clock) reset() { c.set.Store(nil) }
