//! The two topics of a device: `landfall/1/{device}/up` and `landfall/1/{device}/down`.
//! A device may use its own two only; the digit is the wire's major version.

use crate::id::DeviceId;

/// Which way a frame travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Device to hub.
    Up,
    /// Hub to device.
    Down,
}

/// The topic of `device` in one direction.
pub fn topic(device: &DeviceId, direction: Direction) -> String {
    match direction {
        Direction::Up => format!("landfall/1/{device}/up"),
        Direction::Down => format!("landfall/1/{device}/down"),
    }
}

/// The device and direction of a topic, or `None` if it is not one of ours.
pub fn parse(topic: &str) -> Option<(DeviceId, Direction)> {
    let (device, direction) = topic.strip_prefix("landfall/1/")?.split_once('/')?;
    let direction = match direction {
        "up" => Direction::Up,
        "down" => Direction::Down,
        _ => return None,
    };
    Some((device.parse().ok()?, direction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_read_back_and_nothing_else_does() {
        let device: DeviceId = "ship-7".parse().unwrap();
        for direction in [Direction::Up, Direction::Down] {
            assert_eq!(parse(&topic(&device, direction)), Some((device.clone(), direction)));
        }
        for other in [
            "landfall/1/ship-7/up/x",
            "landfall/2/ship-7/up",
            "landfall/1//up",
            "x",
            "landfall/1/+/up",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
