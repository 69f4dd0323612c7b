//! What arrives in a member's inbox: the channel on which the server says, of its own accord, that a lock was handed
//! over or that it is time to ask.

use std::time::Duration;

use super::resp::Reply;
use crate::core::fleet::Push;
use crate::core::ticket::Ticket;

/// What the server said without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// From now on the messages to the channel arrive here.
    Subscribed,
    /// A message to the channel.
    Message(Push),
    /// Nothing that we know, or about another channel.
    Other,
}

/// What a push with these parts says of `channel`.
pub fn read(parts: &[Reply], channel: &str) -> Notice {
    let [Reply::Bulk(kind), Reply::Bulk(of), what] = parts else {
        return Notice::Other;
    };
    if of.as_slice() != channel.as_bytes() {
        return Notice::Other;
    }
    match (kind.as_slice(), what) {
        (b"subscribe", Reply::Int(_)) => Notice::Subscribed,
        (b"message", Reply::Bulk(message)) => decode(message).map_or(Notice::Other, Notice::Message),
        _ => Notice::Other,
    }
}

/// `granted <ticket>` or `look <ticket> <ms>`.
fn decode(message: &[u8]) -> Option<Push> {
    let mut words = std::str::from_utf8(message).ok()?.split(' ');
    let kind = words.next()?;
    let ticket = Ticket::new(words.next()?.parse().ok()?);
    let look_in = match kind {
        "granted" => None,
        "look" => Some(Duration::from_millis(words.next()?.parse().ok()?)),
        _ => return None,
    };
    words.next().is_none().then_some(Push { ticket, look_in })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.into())
    }

    fn message(text: &str) -> Notice {
        read(&[bulk("message"), bulk("inbox"), bulk(text)], "inbox")
    }

    #[test]
    fn messages_are_read() {
        let push = |ticket, look_in| {
            let ticket = Ticket::new(ticket);
            Notice::Message(Push { ticket, look_in })
        };
        assert_eq!(message("granted 7"), push(7, None));
        let ticket = 1_760_000_000_000_000;
        assert_eq!(
            message("look 1760000000000000 250"),
            push(ticket, Some(Duration::from_millis(250)))
        );
        assert_eq!(message("look 7 0"), push(7, Some(Duration::ZERO)));
    }

    #[test]
    fn what_is_no_message_of_ours_is_left() {
        for odd in [
            "",
            "granted",
            "granted ",
            "granted x",
            "granted -7",
            "granted 7 8",
            "granted  7",
            "granted 7\n",
            "look 7",
            "look 7 -1",
            "look 7 soon",
            "look 7 1 1",
            "taken 7",
        ] {
            assert_eq!(message(odd), Notice::Other, "{odd:?}");
        }
        let invalid = [
            bulk("message"),
            bulk("inbox"),
            Reply::Bulk(b"granted \xff".to_vec()),
        ];
        assert_eq!(read(&invalid, "inbox"), Notice::Other);
        let text = bulk("granted 7");
        for parts in [
            &[bulk("message"), bulk("other"), text.clone()][..],
            &[bulk("message"), bulk("inbox"), Reply::Int(7)],
            &[bulk("message"), bulk("inbox")],
            &[bulk("pmessage"), bulk("in*"), bulk("inbox"), text],
            &[bulk("unsubscribe"), bulk("inbox"), Reply::Int(0)],
            &[bulk("invalidate"), Reply::Nil],
            &[],
        ] {
            assert_eq!(read(parts, "inbox"), Notice::Other, "{parts:?}");
        }
    }

    #[test]
    fn a_subscription_is_to_its_own_channel() {
        let parts = [bulk("subscribe"), bulk("inbox"), Reply::Int(1)];
        assert_eq!(read(&parts, "inbox"), Notice::Subscribed);
        assert_eq!(read(&parts, "another"), Notice::Other);
    }
}
