// Package contract is what the Go drivers share: verbs of the command line become calls of a driver's functions
// (../../main.rs has them). A verb without a function is what the library lacks.
package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Short ones, so that a member that was killed is missed soon.
const (
	Session   = 6 * time.Second
	Heartbeat = 500 * time.Millisecond
	// Linger gathers records into batches.
	Linger = 20 * time.Millisecond
	lacks  = 3
)

// ErrLacks says that the library has no such thing; what it wraps says what.
var ErrLacks = errors.New("not in this library")

// Verb is a driver's function; the arguments are those behind the bootstrap address.
type Verb func(bootstrap string, args []string) error

// Run does what the command line asks for, and ends the process.
func Run(module string, verbs map[string]Verb) {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(version(module))
		return
	}
	if len(os.Args) < 3 {
		fail(errors.New("usage: DRIVER VERB BOOTSTRAP ARGS..."))
	}
	verb, known := verbs[os.Args[1]]
	if !known {
		say("no " + os.Args[1] + " in the library")
		os.Exit(lacks)
	}
	switch err := verb(os.Args[2], os.Args[3:]); {
	case errors.Is(err, ErrLacks):
		say(err.Error())
		os.Exit(lacks)
	case err != nil:
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// The library's name and the version that was built in.
func version(module string) string {
	name := module[strings.LastIndex(module, "/")+1:]
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == module {
				return name + " " + strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
	return name
}

var out sync.Mutex

func say(line string) {
	out.Lock()
	defer out.Unlock()
	fmt.Println(line)
}

// Emit prints a line.
func Emit(words ...any) {
	say(strings.TrimSuffix(fmt.Sprintln(words...), "\n"))
}

// Record is the N-th record's key and value.
func Record(n int) (key, value []byte) {
	return fmt.Appendf(nil, "k%d", n), fmt.Appendf(nil, "v%d", n)
}

// Leaving is a context that ends with the standard input.
func Leaving() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx
}

// Assigned tells the partitions that a member has, whenever they change.
type Assigned struct {
	mu   sync.Mutex
	held map[int32]bool
}

// Set replaces them.
func (a *Assigned) Set(partitions []int32) {
	a.change(func() {
		a.held = map[int32]bool{}
		for _, p := range partitions {
			a.held[p] = true
		}
	})
}

// Add has some more of them.
func (a *Assigned) Add(partitions []int32) {
	a.change(func() {
		for _, p := range partitions {
			a.held[p] = true
		}
	})
}

// Remove has some of them no more.
func (a *Assigned) Remove(partitions []int32) {
	a.change(func() {
		for _, p := range partitions {
			delete(a.held, p)
		}
	})
}

func (a *Assigned) change(how func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held == nil {
		a.held = map[int32]bool{}
	}
	how()
	words := []any{"assigned"}
	var sorted []int32
	for p := range a.held {
		sorted = append(sorted, p)
	}
	slices.Sort(sorted)
	for _, p := range sorted {
		words = append(words, p)
	}
	Emit(words...)
}

// Number is an argument that must be one.
func Number(arg string) int64 {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		fail(err)
	}
	return n
}
