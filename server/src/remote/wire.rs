//! Protobuf's wire format read in place: fields as they come, texts and nested messages borrowed from the body.
//!
//! Requests with thousands of series are mostly label texts; a decoder that builds owned messages spends most of its
//! time on allocations. Format: the protocol buffers' encoding page.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// Integers and enumerations.
    Varint(u64),
    /// Eight bytes: doubles.
    Fixed64(u64),
    /// Texts, messages, packed lists.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf at byte {offset}: {reason}")]
pub struct WireError {
    /// Where, from the beginning of the whole body.
    pub offset: usize,
    /// What is wrong.
    pub reason: &'static str,
}

/// The fields of one message.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    body: &'a [u8],
    at: usize,
    /// Where `body` begins in the whole request, for errors.
    base: usize,
}

impl<'a> Fields<'a> {
    /// The fields of the whole body.
    pub fn of(body: &'a [u8]) -> Self {
        Self { body, at: 0, base: 0 }
    }

    /// The fields of a message within this one, just read from it.
    pub fn nested(&self, bytes: &'a [u8]) -> Self {
        Self { body: bytes, at: 0, base: self.base + self.at - bytes.len() }
    }

    /// The length that stands before a message in a stream, and how many bytes it takes; `None` if it is cut.
    pub fn length_prefix(bytes: &'a [u8]) -> Option<(usize, usize)> {
        let mut fields = Self::of(bytes);
        let length = usize::try_from(fields.varint().ok()?).ok()?;
        Some((length, fields.at))
    }

    /// The next field and its number, or `None` at the end.
    ///
    /// # Errors
    /// If the bytes are no field.
    pub fn advance(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        if self.at == self.body.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|&n| n != 0 && n < 1 << 29);
        let number = number.ok_or_else(|| self.error("field number out of range"))?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| self.error("length out of range"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(self.error("unknown wire type")),
        };
        Ok(Some((number, field)))
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.body.get(self.at).ok_or_else(|| self.error("cut within a number"))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("number longer than ten bytes"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.body.len());
        let end = end.ok_or_else(|| self.error("cut within a field"))?;
        let bytes = &self.body[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.error("cut within a field"))
    }

    fn error(&self, reason: &'static str) -> WireError {
        WireError { offset: self.base + self.at, reason }
    }
}

impl<'a> Field<'a> {
    /// A nested message, text or packed list; empty for another kind of field.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// A number; 0 for another kind of field.
    #[expect(clippy::cast_possible_wrap, reason = "int64 is written as its two's complement")]
    pub fn int(self) -> i64 {
        match self {
            Field::Varint(value) => value as i64,
            _ => 0,
        }
    }

    /// A double; 0 for another kind of field.
    pub fn double(self) -> f64 {
        match self {
            Field::Fixed64(bits) => f64::from_bits(bits),
            _ => 0.0,
        }
    }
}

/// Appends a repeated `uint32` field, packed or not, to `numbers`. Numbers past 32 bits become the largest: no index
/// reaches it.
///
/// # Errors
/// If a packed list is cut.
pub fn push_uint32s(numbers: &mut Vec<u32>, fields: &Fields<'_>, field: Field<'_>) -> Result<(), WireError> {
    let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    match field {
        Field::Varint(value) => numbers.push(short(value)),
        Field::Bytes(packed) => {
            let mut list = fields.nested(packed);
            while list.at < list.body.len() {
                numbers.push(short(list.varint()?));
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_place() {
        let body = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x19, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        let mut fields = Fields::of(&body);
        assert_eq!(fields.advance(), Ok(Some((1, Field::Varint(150)))));
        assert_eq!(fields.advance(), Ok(Some((2, Field::Bytes(b"hi")))));
        let (number, one) = fields.advance().unwrap().unwrap();
        assert_eq!((number, one.double()), (3, 1.0));
        assert_eq!(fields.advance(), Ok(None));
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let error = |body: &[u8]| {
            let mut fields = Fields::of(body);
            loop {
                match fields.advance() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("accepted"),
                    Err(error) => return (error.offset, error.reason),
                }
            }
        };
        assert_eq!(error(&[0x12, 5, b'a']), (2, "cut within a field"));
        assert_eq!(error(&[0x08, 0xff]), (2, "cut within a number"));
        assert_eq!(error(&[0x0b]), (1, "unknown wire type"));
        assert_eq!(error(&[0x00]), (1, "field number out of range"));
        assert_eq!(error(&[0x08; 1]), (1, "cut within a number"));
        assert_eq!(error(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).1, "cut within a field");
    }
}
