package sandbox

import (
	"hash/maphash"
	"sync"
	"time"
)

// keyShards spreads the idempotency keys over that many locks.
const keyShards = 64

// running marks a key whose first request is still being worked on.
const running int64 = -1

// A keyState is what the store finds under a key.
type keyState int

const (
	keyFresh    keyState = iota // nothing: the caller now holds the key and must keep or release it
	keyRunning                  // an earlier request with it is not finished
	keyFinished                 // an answer is kept
	keyBlocked                  // nothing; but its order is at work, so that nothing may be begun
)

// A keyEntry says where the answer of a key stands in the ledger. It holds no
// pointer, and neither does its name in the map, so that the garbage collector
// never looks into a store of a million keys.
type keyEntry struct {
	offset  int64 // of the record, or running
	at      int64 // when the key came first, Unix nanoseconds
	bodySum uint64
}

// A keyName is an idempotency key as two hashes with seeds of this process.
type keyName [2]uint64

// keyStore is the gateway's memory of idempotency keys. There is one for the
// whole company, as at Adyen: neither merchant account nor endpoint matters.
type keyStore struct {
	life   time.Duration
	seeds  [2]maphash.Seed
	shards [keyShards]keyShard
}

type keyShard struct {
	mu      sync.Mutex
	entries map[keyName]keyEntry
}

func newKeyStore(life time.Duration) *keyStore {
	ks := &keyStore{life: life, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range ks.shards {
		ks.shards[i].entries = make(map[keyName]keyEntry)
	}
	return ks
}

// name returns the name of key.
func (ks *keyStore) name(key []byte) keyName {
	return keyName{maphash.Bytes(ks.seeds[0], key), maphash.Bytes(ks.seeds[1], key)}
}

// claim looks up a key at the time now. A fresh one is marked as running with
// the body of that sum; a key older than its life is as good as fresh.
func (ks *keyStore) claim(name keyName, bodySum uint64, now time.Time) (keyState, keyEntry) {
	shard := ks.shard(name)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	entry, found := shard.entries[name]
	switch {
	case found && entry.offset == running:
		return keyRunning, entry
	case found && now.UnixNano()-entry.at < int64(ks.life):
		return keyFinished, entry
	}
	shard.entries[name] = keyEntry{offset: running, bodySum: bodySum}
	return keyFresh, keyEntry{}
}

// find looks up a key without claiming it. It finds no key whose first request is
// still being worked on.
func (ks *keyStore) find(name keyName) (keyEntry, bool) {
	shard := ks.shard(name)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	entry, found := shard.entries[name]
	return entry, found && entry.offset != running
}

// keep stores the answer of a key, in the place of the mark that it is running.
func (ks *keyStore) keep(name keyName, entry keyEntry) {
	shard := ks.shard(name)
	shard.mu.Lock()
	shard.entries[name] = entry
	shard.mu.Unlock()
}

// release forgets a key, so that the next request with it is a first one.
func (ks *keyStore) release(name keyName) {
	shard := ks.shard(name)
	shard.mu.Lock()
	delete(shard.entries, name)
	shard.mu.Unlock()
}

func (ks *keyStore) shard(name keyName) *keyShard { return &ks.shards[name[0]%keyShards] }
