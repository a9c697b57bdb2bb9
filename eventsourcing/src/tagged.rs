//! A deserializer over an event's type and the JSON text of its data, which reads them as the object
//! `{"type": …, "data": …}` without building its text.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Error;

/// An event type and its data as one adjacently tagged object.
pub(crate) struct Tagged<'de> {
    event_type: &'de str,
    data: &'de str,
    /// Number of keys read: 0 to 3.
    read: usize,
}

impl<'de> Tagged<'de> {
    pub(crate) fn new(event_type: &'de str, data: &'de str) -> Self {
        Self { event_type, data, read: 0 }
    }
}

impl<'de> Deserializer<'de> for Tagged<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Tagged<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let key = ["type", "data"].get(self.read).copied();
        self.read += 1;
        key.map(|key| seed.deserialize(BorrowedStrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        if self.read == 1 {
            return seed.deserialize(BorrowedStrDeserializer::new(self.event_type));
        }
        let mut data = serde_json::Deserializer::from_str(self.data);
        let value = seed.deserialize(&mut data)?;
        data.end()?;
        Ok(value)
    }
}
