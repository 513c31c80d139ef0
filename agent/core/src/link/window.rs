//! Hours of the week.

use super::{DAY_MS, MINUTE_MS};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// Hours in which a link may be used: from a minute of some days of the week to another, over
/// midnight if the end is not after the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins, bit 0 is Monday.
    days: u8,
    from_minute: u16,
    minutes: u16,
}

impl Window {
    /// `22:00-04:00`, `Mon-Fri 08:00-17:30`, `Sat,Sun 00:00-24:00`.
    pub fn parse(text: &str) -> Option<Window> {
        let (days, hours) = match text.trim().rsplit_once(' ') {
            Some((days, hours)) => (parse_days(days)?, hours),
            None => (0x7f, text.trim()),
        };
        let (from, to) = hours.split_once('-')?;
        let (from, to) = (parse_minute(from)?, parse_minute(to)?);
        if from == DAY_MINUTES {
            return None;
        }
        let minutes = if to > from { to - from } else { to + DAY_MINUTES - from };
        Some(Window { days, from_minute: from, minutes })
    }

    /// When it ends, if it is open at `local_ms`.
    fn ends(self, local_ms: i64) -> Option<i64> {
        let today = local_ms.div_euclid(DAY_MS);
        // One that began yesterday may last into today.
        let begins = [today - 1, today].into_iter().filter(|day| self.is_on(*day));
        let mut spans = begins.map(|day| self.span(day));
        spans.find(|(from, to)| (*from..*to).contains(&local_ms)).map(|(_, to)| to)
    }

    /// When it begins next, after `local_ms`.
    fn begins(self, local_ms: i64) -> Option<i64> {
        let today = local_ms.div_euclid(DAY_MS);
        let begins = (today..=today + 7).filter(|day| self.is_on(*day));
        begins.map(|day| self.span(day).0).find(|from| *from > local_ms)
    }

    fn is_on(self, day: i64) -> bool {
        // The first day of 1970 was a Thursday.
        self.days & (1 << (day + 3).rem_euclid(7)) != 0
    }

    fn span(self, day: i64) -> (i64, i64) {
        let from = day * DAY_MS + i64::from(self.from_minute) * MINUTE_MS;
        (from, from + i64::from(self.minutes) * MINUTE_MS)
    }
}

/// When `windows` close, if one is open at `local_ms`; without any they never do.
pub(super) fn closes(windows: &[Window], local_ms: i64) -> Option<i64> {
    if windows.is_empty() {
        return Some(i64::MAX);
    }
    let mut at = None;
    // One may follow another without a gap; a week of them is for ever.
    for _ in 0..windows.len().saturating_mul(8) {
        let now = at.unwrap_or(local_ms);
        match windows.iter().filter_map(|window| window.ends(now)).max() {
            Some(end) => at = Some(end),
            None => return at,
        }
    }
    Some(i64::MAX)
}

/// When the next of `windows` opens after `local_ms`.
pub(super) fn opens(windows: &[Window], local_ms: i64) -> Option<i64> {
    windows.iter().filter_map(|window| window.begins(local_ms)).min()
}

fn parse_minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two = |part: &str| (part.len() == 2).then(|| part.parse::<u16>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let at = hours.checked_mul(60)? + minutes;
    (minutes < 60 && at <= DAY_MINUTES).then_some(at)
}

fn parse_days(text: &str) -> Option<u8> {
    let day = |name: &str| {
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        names.iter().position(|known| *known == name.trim().to_ascii_lowercase())
    };
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7;
        (0..=count).for_each(|at| days |= 1 << ((first + at) % 7));
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes after Monday 00:00 of a week.
    fn at(day: i64, minute: i64) -> i64 {
        (4 + day) * DAY_MS + minute * MINUTE_MS
    }

    #[test]
    fn windows_as_people_write_them() {
        for bad in [
            "",
            "8:00-17:00",
            "08:00",
            "08:60-09:00",
            "25:00-26:00",
            "24:00-01:00",
            "Xyz 08:00-09:00",
        ] {
            assert_eq!(Window::parse(bad), None, "{bad}");
        }
        let office = Window::parse("Mon-Fri 08:00-17:30").unwrap();
        assert_eq!(office, Window { days: 0b001_1111, from_minute: 480, minutes: 570 });
        assert_eq!(Window::parse("Sat,Sun 00:00-24:00").unwrap().days, 0b110_0000);
        assert_eq!(Window::parse("Fri-Mon 00:00-24:00").unwrap().days, 0b111_0001);
    }

    #[test]
    fn over_midnight_and_into_the_next_week() {
        let night = [Window::parse("Sun 22:00-04:00").unwrap()];
        assert_eq!(closes(&night, at(6, 22 * 60)), Some(at(7, 4 * 60)));
        assert_eq!(closes(&night, at(7, 3 * 60)), Some(at(7, 4 * 60)), "began yesterday");
        assert_eq!(closes(&night, at(7, 4 * 60)), None, "the end is not in it");
        assert_eq!(opens(&night, at(7, 4 * 60)), Some(at(13, 22 * 60)));
    }

    #[test]
    fn windows_that_touch_are_one_and_no_window_is_always() {
        let two = [Window::parse("08:00-12:00").unwrap(), Window::parse("12:00-13:00").unwrap()];
        assert_eq!(closes(&two, at(0, 9 * 60)), Some(at(0, 13 * 60)));
        assert_eq!(closes(&[], 5), Some(i64::MAX));
        let always = [Window::parse("00:00-24:00").unwrap()];
        assert_eq!(closes(&always, 5), Some(i64::MAX));
    }
}
