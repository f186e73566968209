package limit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/limit"
)

// hold acquires a slot, and fails the test if there is none at once.
func hold(t *testing.T, l *limit.Limit[string], owner string) (release func()) {
	t.Helper()
	release, err := l.Acquire(t.Context(), owner, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func TestAcquireWaitsForASlot(t *testing.T) {
	for _, tt := range []struct {
		name            string
		slots, perOwner int
		held            []string
		owner           string
		released        int           // the index of what is released after a second, or -1
		heldLater       string        // an owner who gets the slot that is released
		leave           time.Duration // 0: never
		wantErr         error
		wantWaited      time.Duration
	}{
		{name: "free", slots: 2, perOwner: 2, owner: "ann", released: -1},
		{name: "another owner has one", slots: 2, perOwner: 1, held: []string{"bob"}, owner: "ann", released: -1},
		{
			name: "the owner has all of its slots", slots: 9, perOwner: 2, held: []string{"ann", "ann"}, owner: "ann",
			released: -1, wantErr: limit.ErrTimeout, wantWaited: 3 * time.Second,
		},
		{
			name: "all slots are taken", slots: 2, perOwner: 2, held: []string{"bob", "cat"}, owner: "ann",
			released: -1, wantErr: limit.ErrTimeout, wantWaited: 3 * time.Second,
		},
		{
			name: "caller who leaves", slots: 2, perOwner: 2, held: []string{"bob", "cat"}, owner: "ann",
			released: -1, leave: time.Second, wantErr: context.Canceled, wantWaited: time.Second,
		},
		{
			name: "one wait for both", slots: 1, perOwner: 1, held: []string{"ann"}, owner: "ann", released: 0, heldLater: "bob",
			wantErr: limit.ErrTimeout, wantWaited: 3 * time.Second,
		},
		{
			name: "the owner's slot is released", slots: 9, perOwner: 1, held: []string{"bob", "ann"}, owner: "ann",
			released: 1, wantWaited: time.Second,
		},
		{
			name: "another owner's slot is released", slots: 2, perOwner: 2, held: []string{"bob", "cat"}, owner: "ann",
			released: 0, wantWaited: time.Second,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := limit.New[string](tt.slots, tt.perOwner)
				var releases []func()
				for _, owner := range tt.held {
					releases = append(releases, hold(t, l, owner))
				}
				if tt.released >= 0 {
					time.AfterFunc(time.Second, releases[tt.released])
				}
				if tt.heldLater != "" {
					go l.Acquire(t.Context(), tt.heldLater, time.Hour)
					synctest.Wait()
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.leave > 0 {
					time.AfterFunc(tt.leave, cancel)
				}
				began := time.Now()
				release, err := l.Acquire(ctx, tt.owner, 3*time.Second)
				if waited := time.Since(began); !errors.Is(err, tt.wantErr) || waited != tt.wantWaited {
					t.Errorf("Acquire() = %v after %v, want %v after %v", err, waited, tt.wantErr, tt.wantWaited)
				}
				if (release == nil) != (tt.wantErr != nil) {
					t.Errorf("release is there: %v", release != nil)
				}
			})
		})
	}
}

func TestOwnerWhoWaitsTakesNoSlotOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New[string](3, 1)
		hold(t, l, "ann")
		ctx, cancel := context.WithCancel(t.Context())
		for range 100 {
			go l.Acquire(ctx, "ann", time.Hour)
		}
		synctest.Wait()
		hold(t, l, "bob")()
		hold(t, l, "cat")
		cancel()
	})
}

func TestEverySlotComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New[string](2, 1)
		releases := []func(){hold(t, l, "ann"), hold(t, l, "bob")}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, owner := range []string{"ann", "cat"} { // neither gets one
			if _, err := l.Acquire(ctx, owner, time.Second); err == nil {
				t.Fatalf("%s got a slot", owner)
			}
		}
		for _, release := range releases {
			release()
		}
		for range 2 {
			hold(t, l, "cat")()
		}
		hold(t, l, "ann")
		hold(t, l, "cat")
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New[string](1, 1)
		first := hold(t, l, "ann")
		var served []string
		for _, owner := range []string{"bob", "cat", "dog"} {
			go func() {
				release := hold(t, l, owner)
				served = append(served, owner)
				release()
			}()
			synctest.Wait()
		}
		first()
		synctest.Wait()
		if diff := cmp.Diff([]string{"bob", "cat", "dog"}, served); diff != "" {
			t.Errorf("served (-want +got):\n%s", diff)
		}
	})
}
