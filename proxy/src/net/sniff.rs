//! What the first bytes of a connection tell, without taking them: a TLS client's wishes, HTTP's version, a PROXY header.
//! Pure: bytes in, an answer or the wish for more of them out.

pub mod hello;
pub mod proxy;
pub mod version;

/// What some first bytes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sniffed<T> {
    /// Too few to say.
    More,
    /// They are not of this kind, whatever follows.
    Other,
    /// They are.
    Found(T),
}

impl<T> Sniffed<T> {
    fn of(read: Result<T, Stop>) -> Self {
        match read {
            Ok(found) => Self::Found(found),
            Err(Stop::More) => Self::More,
            Err(Stop::Other) => Self::Other,
        }
    }
}

/// Why reading ends early.
enum Stop {
    More,
    Other,
}

/// Bytes, read from the front.
struct Cursor<'a> {
    rest: &'a [u8],
    /// Said when they are not enough: more may come, or they were all.
    short: fn() -> Stop,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(self.short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number of so many bytes, the highest first.
    fn number(&mut self, bytes: usize) -> Result<usize, Stop> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// As many bytes as the number before them, of so many bytes, says.
    fn vector(&mut self, bytes: usize) -> Result<Cursor<'a>, Stop> {
        let length = self.number(bytes)?;
        Ok(Cursor::whole(self.take(length)?))
    }

    /// Of all that there is: what is missing makes it wrong.
    fn whole(rest: &'a [u8]) -> Self {
        Self {
            rest,
            short: || Stop::Other,
        }
    }

    /// Of what has come so far.
    fn so_far(rest: &'a [u8]) -> Self {
        Self {
            rest,
            short: || Stop::More,
        }
    }
}
