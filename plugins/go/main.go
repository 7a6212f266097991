// A weir plugin in Go, with nothing but the standard library: every role, each done in a small and honest way.
//
// The gateway starts it (type: subprocess) and reads the port from its first line, or somebody else does (type: sidecar)
// with -port. It answers POST /call with {"result": ...} or {"error": ...}, and GET /health.
//
//	telemetry           adds up counters, counts and sums histograms, keeps the last value of gauges
//	auth_provider       knows the keys in PLUGIN_KEYS: KEY=USER:ROLE+ROLE, separated by commas
//	policy_evaluator    allows what PLUGIN_ALLOW lists: ROLE@SERVER, separated by commas
//	credential_storage  keeps credentials in memory
//	auth_proxy          sends the stored bearer credential of the user to the server
//	audit_sink          keeps the last 1000 events
//	mcp_provisioner     hands out the endpoint that a server definition names
//
// Three methods of its own show what it has and how it was started: totals, events and process.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	version   = "1.0.0"
	maxEvents = 1000
	maxBody   = 2 << 20
)

// params has the parameters of every method; each reads its own.
type params struct {
	Name       string            `json:"name"`
	Value      json.RawMessage   `json:"value"`
	Attributes map[string]string `json:"attributes"`

	UserID         string            `json:"user_id"`
	Roles          []string          `json:"roles"`
	MCPServer      string            `json:"mcp_server"`
	CredentialType string            `json:"credential_type"`
	Headers        map[string]string `json:"headers"`
	Body           *string           `json:"body"`

	Server   serverDef `json:"server"`
	ServerID string    `json:"server_id"`

	raw json.RawMessage
}

type serverDef struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
}

type histogram struct {
	Count int64   `json:"count"`
	Sum   float64 `json:"sum"`
}

type place struct{ user, server, kind string }

type plugin struct {
	mu          sync.Mutex
	counters    map[string]int64
	histograms  map[string]histogram
	gauges      map[string]int64
	events      []json.RawMessage
	credentials map[place]string
	provisioned map[string]map[string]string
}

func newPlugin() *plugin {
	return &plugin{
		counters:    map[string]int64{},
		histograms:  map[string]histogram{},
		gauges:      map[string]int64{},
		events:      []json.RawMessage{},
		credentials: map[place]string{},
		provisioned: map[string]map[string]string{},
	}
}

// === telemetry ===

func (p params) series() string {
	labels := make([]string, 0, len(p.Attributes))
	for key, value := range p.Attributes {
		labels = append(labels, key+"="+value)
	}
	sort.Strings(labels)
	return p.Name + "{" + strings.Join(labels, ",") + "}"
}

func (p params) integer() (value int64, err error) {
	err = json.Unmarshal(p.Value, &value)
	return value, err
}

func (p params) text() (value string, err error) {
	err = json.Unmarshal(p.Value, &value)
	return value, err
}

func (g *plugin) recordCounter(p params) (any, error) {
	value, err := p.integer()
	if err == nil {
		g.counters[p.series()] += value
	}
	return "ok", err
}

func (g *plugin) recordHistogram(p params) (any, error) {
	var value float64
	err := json.Unmarshal(p.Value, &value)
	if err == nil {
		seen := g.histograms[p.series()]
		g.histograms[p.series()] = histogram{seen.Count + 1, seen.Sum + value}
	}
	return "ok", err
}

func (g *plugin) recordGauge(p params) (any, error) {
	value, err := p.integer()
	if err == nil {
		g.gauges[p.series()] = value
	}
	return "ok", err
}

func (g *plugin) totals(params) (any, error) {
	return map[string]any{"counters": g.counters, "histograms": g.histograms, "gauges": g.gauges}, nil
}

// === who, and whether ===

func listed(variable string) []string {
	return strings.FieldsFunc(os.Getenv(variable), func(letter rune) bool { return letter == ',' })
}

func (g *plugin) validateCredential(p params) (any, error) {
	shown, err := p.text()
	if err != nil {
		return nil, err
	}
	for _, entry := range listed("PLUGIN_KEYS") {
		key, user, _ := strings.Cut(entry, "=")
		if subtle.ConstantTimeCompare([]byte(key), []byte(shown)) == 1 {
			user, roles, _ := strings.Cut(user, ":")
			names := strings.FieldsFunc(roles, func(letter rune) bool { return letter == '+' })
			return map[string]any{"user_id": user, "roles": names}, nil
		}
	}
	return nil, errors.New("unknown credential")
}

func (g *plugin) checkAccess(p params) (any, error) {
	for _, role := range p.Roles {
		for _, allowed := range listed("PLUGIN_ALLOW") {
			if allowed == role+"@"+p.MCPServer {
				return map[string]any{"allowed": true, "reason": role + " may use " + p.MCPServer}, nil
			}
		}
	}
	reason := "no role of " + p.UserID + " may use " + p.MCPServer
	return map[string]any{"allowed": false, "reason": reason}, nil
}

// === credentials ===

func (p params) place() place { return place{p.UserID, p.MCPServer, p.CredentialType} }

func (g *plugin) storeCredential(p params) (any, error) {
	value, err := p.text()
	if err == nil {
		g.credentials[p.place()] = value
	}
	return "ok", err
}

func (g *plugin) retrieveCredential(p params) (any, error) {
	value, found := g.credentials[p.place()]
	if !found {
		return nil, errors.New("no such credential")
	}
	return map[string]string{"value": value}, nil
}

func (g *plugin) deleteCredential(p params) (any, error) {
	delete(g.credentials, p.place())
	return "ok", nil
}

func (g *plugin) listCredentials(p params) (any, error) {
	found := []map[string]string{}
	for at := range g.credentials {
		if at.user == p.UserID {
			found = append(found, map[string]string{"server": at.server, "cred_type": at.kind})
		}
	}
	return found, nil
}

func (g *plugin) injectCredentials(p params) (any, error) {
	headers := map[string]string{}
	for name, value := range p.Headers {
		headers[name] = value
	}
	if token, found := g.credentials[place{p.UserID, p.MCPServer, "bearer"}]; found {
		headers["Authorization"] = "Bearer " + token
	}
	return map[string]any{"headers": headers, "body": p.Body}, nil
}

// === audit ===

func (g *plugin) logEvent(p params) (any, error) {
	if len(g.events) == maxEvents {
		g.events = g.events[1:]
	}
	g.events = append(g.events, p.raw)
	return "ok", nil
}

func (g *plugin) keptEvents(params) (any, error) { return g.events, nil }

// === servers ===

func (g *plugin) provision(p params) (any, error) {
	if p.Server.Endpoint == "" {
		return nil, errors.New("this plugin starts nothing: the definition has to name an endpoint")
	}
	id := p.Server.Name + "-" + p.UserID
	g.provisioned[id] = map[string]string{
		"id": id, "name": p.Server.Name, "endpoint": p.Server.Endpoint, "status": "running", "user_id": p.UserID,
	}
	return g.provisioned[id], nil
}

func (g *plugin) deprovision(p params) (any, error) {
	if _, found := g.provisioned[p.ServerID]; !found {
		return nil, errors.New("no such server")
	}
	delete(g.provisioned, p.ServerID)
	return "ok", nil
}

func (g *plugin) list(p params) (any, error) {
	found := []map[string]string{}
	for _, server := range g.provisioned {
		if server["user_id"] == p.UserID {
			found = append(found, server)
		}
	}
	return found, nil
}

// === how it was started ===

func (g *plugin) process(params) (any, error) {
	directory, err := os.Getwd()
	return map[string]any{"args": os.Args[1:], "env": os.Environ(), "cwd": directory, "pid": os.Getpid()}, err
}

func (g *plugin) method(name string) func(params) (any, error) {
	switch name {
	case "record-counter":
		return g.recordCounter
	case "record-histogram":
		return g.recordHistogram
	case "record-gauge":
		return g.recordGauge
	case "totals":
		return g.totals
	case "validate-credential":
		return g.validateCredential
	case "check-access":
		return g.checkAccess
	case "store-credential":
		return g.storeCredential
	case "retrieve-credential":
		return g.retrieveCredential
	case "delete-credential":
		return g.deleteCredential
	case "list-credentials":
		return g.listCredentials
	case "inject-credentials":
		return g.injectCredentials
	case "log-event":
		return g.logEvent
	case "events":
		return g.keptEvents
	case "provision":
		return g.provision
	case "deprovision":
		return g.deprovision
	case "list":
		return g.list
	case "process":
		return g.process
	}
	return nil
}

func (g *plugin) answer(body []byte) map[string]any {
	var asked struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	read := params{}
	if err := json.Unmarshal(body, &asked); err != nil {
		return map[string]any{"error": err.Error()}
	}
	method := g.method(asked.Method)
	if method == nil {
		return map[string]any{"error": "unknown method: " + asked.Method}
	}
	if err := json.Unmarshal(asked.Params, &read); err != nil {
		return map[string]any{"error": err.Error()}
	}
	read.raw = asked.Params
	result, err := method(read)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"result": result}
}

func (g *plugin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// With PLUGIN_TOKEN set, only who sends it may ask.
	token, shown := os.Getenv("PLUGIN_TOKEN"), r.Header.Get("X-Plugin-Token")
	w.Header().Set("Content-Type", "application/json")
	if token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(shown)) != 1 {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"X-Plugin-Token is missing or wrong"}`)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /health":
		fmt.Fprintf(w, `{"status":"ok","version":%q}`, version)
	case "POST /call":
		g.call(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (g *plugin) call(w http.ResponseWriter, r *http.Request) {
	var body json.RawMessage
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	answer, err := json.Marshal(g.answer(body))
	g.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(answer)
}

func main() {
	port := flag.Int("port", 0, "the port to listen on; 0 is any")
	ignoreTerm := flag.Bool("ignore-term", false, "do not end with SIGTERM: what a broken plugin would do")
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	// The socket listens already: who reads this may connect.
	fmt.Printf("PORT=%d\n", listener.Addr().(*net.TCPAddr).Port)
	log.Printf("go plugin %s is ready", version)

	server := &http.Server{Handler: newPlugin(), ReadHeaderTimeout: 10 * time.Second}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	go func() {
		for range asked {
			if *ignoreTerm {
				log.Print("SIGTERM is ignored")
				continue
			}
			log.Print("SIGTERM: good bye")
			_ = server.Shutdown(context.Background())
		}
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
