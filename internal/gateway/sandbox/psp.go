package sandbox

import (
	"crypto/rand"
	"encoding/binary"
)

// newSeed returns eight random bytes for a new ledger.
func newSeed() (seed [8]byte) {
	rand.Read(seed[:])
	return seed
}

// pspAlphabet has 32 characters, and none that is easily taken for another.
const pspAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

// appendPSPReference appends the pspReference of the seq-th payment of the
// ledger with that seed: 16 upper-case letters and digits, as Adyen's. The
// first three tell ledgers apart; the other thirteen spell a number that no
// other seq gives, since mixing is a bijection of 64-bit numbers.
func appendPSPReference(b []byte, seed [8]byte, seq uint64) []byte {
	s := binary.LittleEndian.Uint64(seed[:])
	for shift := 0; shift < 15; shift += 5 {
		b = append(b, pspAlphabet[s>>shift&31])
	}
	n := mix(seq + s)
	for shift := 60; shift >= 0; shift -= 5 {
		b = append(b, pspAlphabet[n>>shift&31])
	}
	return b
}

// mix spreads the bits of n (the finalizer of SplitMix64): neighbours become
// numbers that look nothing alike, and no two numbers become the same.
func mix(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
