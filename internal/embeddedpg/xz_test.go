package embeddedpg_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// storedXZ wraps data in the .xz format without compressing it: one block of
// uncompressed LZMA2 chunks (tukaani.org/xz/xz-file-format.txt). The library
// that we test reads nothing else, and Go's standard library does not write it.
func storedXZ(data []byte) []byte {
	flags := []byte{0, 1} // integrity check: CRC32
	var out bytes.Buffer
	out.WriteString("\xfd7zXZ\x00")
	out.Write(flags)
	out.Write(checksum(flags))

	// One filter, LZMA2 (0x21), with one byte of properties: a dictionary of 1 MiB.
	blockHeader := []byte{2, 0, 0x21, 1, 16, 0, 0, 0} // 2: (8+4)/4 - 1
	blockStart := out.Len()
	out.Write(blockHeader)
	out.Write(checksum(blockHeader))
	writeChunks(&out, data)
	unpadded := out.Len() - blockStart + crc32.Size
	pad(&out)
	out.Write(checksum(data))

	var index bytes.Buffer
	index.Write([]byte{0, 1}) // one record
	index.Write(binary.AppendUvarint(nil, uint64(unpadded)))
	index.Write(binary.AppendUvarint(nil, uint64(len(data))))
	pad(&index)
	index.Write(checksum(index.Bytes()))
	out.Write(index.Bytes())

	footer := binary.LittleEndian.AppendUint32(nil, uint32(index.Len()/4-1))
	footer = append(footer, flags...)
	out.Write(checksum(footer))
	out.Write(footer)
	out.WriteString("YZ")
	return out.Bytes()
}

func writeChunks(out *bytes.Buffer, data []byte) {
	const most = 1 << 16
	control := byte(1) // the first chunk resets the dictionary
	for len(data) > 0 {
		chunk := data[:min(most, len(data))]
		out.WriteByte(control)
		out.Write(binary.BigEndian.AppendUint16(nil, uint16(len(chunk)-1)))
		out.Write(chunk)
		data, control = data[len(chunk):], 2
	}
	out.WriteByte(0)
}

func pad(out *bytes.Buffer) {
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
}

func checksum(data []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
}
