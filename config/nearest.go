package config

import (
	"slices"
	"strings"
)

// nearest returns those of known that name was probably meant to be: at most
// three, the closest first, none further than a slip of the fingers.
func nearest(name string, known []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var candidates []candidate
	for _, k := range known {
		allowed := min(2, len(k)/3)
		if d := distance(name, k); d <= allowed {
			candidates = append(candidates, candidate{k, d})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return a.distance - b.distance })
	var names []string
	for _, c := range candidates[:min(3, len(candidates))] {
		names = append(names, c.name)
	}
	return names
}

// didYouMean words a suggestion; "" when there is none to make.
func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(names, " or ") + "?"
}

// distance counts the bytes to insert, remove or change to make b of a, in
// other words Levenshtein's. Case counts: the file's keys are lower case.
func distance(a, b string) int {
	if diff := len(a) - len(b); diff > 8 || diff < -8 {
		return 9 // far enough; keeps a very long name cheap
	}
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	current := make([]int, len(b)+1)
	for i := range len(a) {
		current[0] = i + 1
		for j := range len(b) {
			change := previous[j]
			if a[i] != b[j] {
				change++
			}
			current[j+1] = min(change, previous[j+1]+1, current[j]+1)
		}
		previous, current = current, previous
	}
	return previous[len(b)]
}
