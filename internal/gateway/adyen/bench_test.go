package adyen_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/gateway"
)

// BenchmarkCharge is one charge over loopback, with the gateway in a process
// of its own, so that cpu-µs/op is the client's alone.
func BenchmarkCharge(b *testing.B) {
	client := newClientWith(b, gateway.Options{MaxConns: 64}, startEcho(b))
	request := testRequest()
	b.ReportAllocs()
	b.SetParallelism(32)
	before := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := client.Charge(b.Context(), request); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const echoVariable = "CONTAUTH_BENCH_ECHO"

// startEcho runs this test binary again as a gateway that approves testRequest,
// and returns its URL.
func startEcho(b *testing.B) string {
	command := exec.Command(os.Args[0], "-test.run=^TestEcho$")
	command.Env = append(os.Environ(), echoVariable+"=1")
	out, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	in, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); command.Wait() })
	address := make([]byte, 64)
	n, err := out.Read(address)
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + string(address[:n])
}

// TestEcho is the gateway of BenchmarkCharge when it is started by it, and
// otherwise a test that such a gateway can be started.
func TestEcho(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if os.Getenv(echoVariable) == "" {
		return
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, approved)
	})}
	go server.Serve(listener)
	os.Stdout.WriteString(listener.Addr().String())
	io.Copy(io.Discard, os.Stdin) // until the benchmark ends
	server.Close()
}
