package postgres

// SetSlice changes how many open charges a reading looks at.
func (r *FigureReader) SetSlice(n int) { r.slice = n }
