package httpserver

import "net/http"

// Handler is what a server of these options answers with.
func Handler(opts Options) (http.Handler, error) {
	s, err := New(opts)
	if err != nil {
		return nil, err
	}
	return s.http.Handler, nil
}
