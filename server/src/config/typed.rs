//! From the tree to types: a deserializer that knows where it is.

use serde::de::{
    self, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::misfit::{Misfit, found_words, instead};
use super::number::{Number, truth};
use super::tree::{Entry, Kind, Node, Scalar};

/// Reads a node as a `T`.
pub(super) fn read<T: de::DeserializeOwned>(node: &Node) -> Result<T, Misfit> {
    T::deserialize(Value { node })
}

struct Value<'a> {
    node: &'a Node,
}

// === impl Value ===

impl Value<'_> {
    fn scalar(&self, expected: &dyn Expected) -> Result<&Scalar, Misfit> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Ok(scalar),
            _ => Err(de::Error::invalid_type(self.unexpected(), expected)),
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.node.kind {
            Kind::List(_) => Unexpected::Seq,
            Kind::Map(_) => Unexpected::Map,
            Kind::Scalar(scalar) if scalar.is_null() => Unexpected::Unit,
            Kind::Scalar(scalar) => Unexpected::Str(scalar.shown()),
        }
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let scalar = self.scalar(&visitor)?;
        let number = if scalar.plain || scalar.template.is_some() {
            Number::of(scalar.text.trim())
        } else {
            None
        };
        match number {
            Some(number) => number
                .visit(visitor)
                .map_err(|error| conceal(error, scalar)),
            None => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }
}

/// Hides what the environment said: that may be a secret.
fn conceal(mut error: Misfit, scalar: &Scalar) -> Misfit {
    scalar.conceal(&mut error.text);
    error
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            self.number(visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Value<'_> {
    type Error = Misfit;

    numbers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let scalar = match &self.node.kind {
            Kind::List(entries) => return visitor.visit_seq(Members::of(entries)),
            Kind::Map(entries) => return visitor.visit_map(Members::of(entries)),
            Kind::Scalar(scalar) => scalar,
        };
        if scalar.is_null() {
            return visitor.visit_unit();
        }
        if scalar.plain {
            if let Some(truth) = truth(&scalar.text) {
                return visitor
                    .visit_bool(truth)
                    .map_err(|error| conceal(error, scalar));
            }
            if let Some(number) = Number::of(&scalar.text) {
                return number
                    .visit(visitor)
                    .map_err(|error| conceal(error, scalar));
            }
        }
        visitor
            .visit_str(&scalar.text)
            .map_err(|error| conceal(error, scalar))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let scalar = self.scalar(&visitor)?;
        let found = if scalar.plain || scalar.template.is_some() {
            truth(scalar.text.trim())
        } else {
            None
        };
        match found {
            Some(value) => visitor.visit_bool(value),
            None => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let scalar = self.scalar(&visitor)?;
        if scalar.is_null() {
            return Err(de::Error::invalid_type(Unexpected::Unit, &visitor));
        }
        visitor
            .visit_str(&scalar.text)
            .map_err(|error| conceal(error, scalar))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.node.is_null() {
            visitor.visit_unit()
        } else {
            Err(de::Error::invalid_type(self.unexpected(), &visitor))
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::List(entries) => visitor.visit_seq(Members::of(entries)),
            _ if self.node.is_null() => visitor.visit_seq(Members::of(&[])),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::Map(entries) => visitor.visit_map(Members::of(entries)),
            _ if self.node.is_null() => visitor.visit_map(Members::of(&[])),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => {
                let word: de::value::StrDeserializer<'_, Misfit> =
                    scalar.text.as_str().into_deserializer();
                visitor
                    .visit_enum(word)
                    .map_err(|error| conceal(error, scalar))
            }
            Kind::Map(entries) => match entries.as_slice() {
                [entry] => visitor
                    .visit_enum(Variant { entry })
                    .map_err(|error| error.within(entry, entry.place)),
                _ => Err(Misfit::of(format!(
                    "this needs exactly one key; {}",
                    instead("", variants, "write one")
                ))),
            },
            _ => Err(Misfit::of(format!(
                "found {}; {}",
                found_words(self.unexpected()),
                instead("", variants, "write a word")
            ))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }
}

struct Members<'a> {
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'a> Members<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        Self {
            entries: entries.iter(),
            current: None,
        }
    }
}

impl<'de> SeqAccess<'de> for Members<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        let value = seed
            .deserialize(Value { node: &entry.value })
            .map_err(|error| error.within(entry, entry.value.place))?;
        Ok(Some(value))
    }
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        self.current = self.entries.next();
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let key = entry.step.to_string();
        let key: de::value::StrDeserializer<'_, Misfit> = key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.within(entry, entry.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some(entry) = self.current.take() else {
            return Err(Misfit::of(
                "a value was asked for before its key".to_owned(),
            ));
        };
        let place = if entry.value.is_null() {
            entry.place
        } else {
            entry.value.place
        };
        let missing_at = entry.place;
        seed.deserialize(Value { node: &entry.value })
            .map_err(|error| {
                let place = if error.missing.is_some() {
                    missing_at
                } else {
                    place
                };
                error.within(entry, place)
            })
    }
}

struct Variant<'a> {
    entry: &'a Entry,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Misfit;
    type Variant = Value<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Value<'a>), Misfit> {
        let name = self.entry.step.to_string();
        let name: de::value::StrDeserializer<'_, Misfit> = name.as_str().into_deserializer();
        Ok((
            seed.deserialize(name)?,
            Value {
                node: &self.entry.value,
            },
        ))
    }
}

impl<'de> VariantAccess<'de> for Value<'_> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        de::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misfit> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        de::Deserializer::deserialize_seq(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        de::Deserializer::deserialize_map(self, visitor)
    }
}
