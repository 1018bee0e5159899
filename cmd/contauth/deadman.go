package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/scheduler"
)

// deadManTries is how often a complete day is told before it counts as untold:
// the switch raises its alarm then, which is what it is for.
const deadManTries = 3

// tellDeadMan returns what tells a dead-man's switch of each complete day: a
// service that alarms when it hears nothing.
func tellDeadMan(url secret.String) func(context.Context, scheduler.DayReport) error {
	client := &http.Client{Timeout: 10 * time.Second}
	return func(ctx context.Context, _ scheduler.DayReport) error {
		var err error
		for try := range deadManTries {
			if try > 0 {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Second << try):
				}
			}
			if err = ping(ctx, client, url); err == nil {
				return nil
			}
		}
		return err
	}
}

// ping calls the address, which may hold a secret and is not quoted.
func ping(ctx context.Context, client *http.Client, url secret.String) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url.Reveal(), nil)
	if err != nil {
		return errors.New("the dead-man's switch: its address is none")
	}
	resp, err := client.Do(req)
	if err != nil {
		return errors.New("the dead-man's switch did not answer")
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the dead-man's switch answered HTTP %d", resp.StatusCode)
	}
	return nil
}
