//! Where the ship is at each hour of the month.

/// Where it is, as far as links go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With the port's network.
    Port,
    /// With a satellite, in its hours.
    Sea,
    /// With nothing: under a crane, behind a cliff, antenna broken.
    Dark,
}

/// Four days in port, ten at sea with one and a half of blackout, two in port, the rest at sea with
/// another blackout, and in port again at the end.
pub(super) fn place(hour: u64) -> Place {
    let (day, of_day) = (hour / 24 % 30, hour % 24);
    match day {
        0..4 | 14..16 | 28.. => Place::Port,
        8 => Place::Dark,
        9 if of_day < 12 => Place::Dark,
        21 => Place::Dark,
        // In the lee of an island.
        12 | 24 if (6..7).contains(&of_day) => Place::Dark,
        _ => Place::Sea,
    }
}

/// Whether the box is switched off and on at this hour.
pub(super) fn loses_power(hour: u64) -> bool {
    matches!((hour / 24, hour % 24), (5, 6) | (10, 18) | (17, 3) | (23, 19))
}
