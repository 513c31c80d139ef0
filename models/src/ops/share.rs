//! Shares one text's work out among the threads of the pool that it runs in.

/// How many threads work on this text: those of the pool that calls, or the caller alone.
pub(super) fn threads() -> usize {
    // Not the number of threads alone: outside a pool that would start one.
    rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads())
}

/// Does `units` of work on `threads` threads, each some units in a row. A part of the work is a
/// range of units and the same range of the columns of `out`, a unit `columns` wide; the last
/// unit may be narrower.
pub(super) fn by_columns(
    units: std::ops::Range<usize>,
    columns: usize,
    threads: usize,
    mut out: Vec<&mut [f32]>,
    work: &(impl Fn(std::ops::Range<usize>, &mut [&mut [f32]]) + Sync),
) {
    if threads < 2 || units.len() < 2 {
        return work(units, &mut out);
    }
    let half = threads / 2;
    let middle = units.start + units.len() * half / threads;
    let at = (middle - units.start) * columns;
    let (left, right): (Vec<_>, Vec<_>) = out.into_iter().map(|row| row.split_at_mut(at)).unzip();
    rayon::join(
        || by_columns(units.start..middle, columns, half, left, work),
        || by_columns(middle..units.end, columns, threads - half, right, work),
    );
}
