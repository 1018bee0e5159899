package embeddedpg

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// sharedBuffers is how much memory the server may use to keep pages in: an eighth
// of the machine's, within limits. A book whose pages do not fit is copied in and
// out of the system's cache: at 128 MB a charge cost three microseconds more
// than at 1 GB once the book had half a million. It is taken as it is used.
func sharedBuffers() string {
	const least, most = 128, 1024 // MB
	return fmt.Sprintf("%dMB", min(max(memoryMB()/8, least), most))
}

// memoryMB is the memory of the machine, or 0 where nothing tells.
func memoryMB() int {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "MemTotal:"); found {
			kB, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				return 0
			}
			return kB / 1024
		}
	}
	return 0
}
