package scheduler

import "github.com/hashicorp/go-hclog"

// cronLog lets robfig/cron speak through hclog.
type cronLog struct{ logger hclog.Logger }

// Info implements cron.Logger. What it tells, once a second, is for nobody.
func (l cronLog) Info(message string, pairs ...any) { l.logger.Trace(message, pairs...) }

// Error implements cron.Logger: a job that panicked.
func (l cronLog) Error(err error, message string, pairs ...any) {
	l.logger.Error("a job of the daemon failed: "+message, append(pairs, "error", err)...)
}
