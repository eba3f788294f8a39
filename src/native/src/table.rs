//! What may stand where: the table that `tidegate.contracts.native` derives from the event models.
#![forbid(unsafe_code)]

use crate::columns::Type;
use crate::formats::Moments;

/// What a field's value may be, beside null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    Int,
    Epoch, // s, ms or µs, told apart by magnitude; kept as µs
    Real,
    Flag,
    Enum,
    Tag, // an enum that tells the form
    Mac,
    Time,
    MccMnc,
    Degrees,
    Object,
    JsonObject,    // kept as its JSON text
    JsonScalar,    // a text as it is, any other scalar as its JSON text
    JsonIntOrText, // a text as it is, a whole number as its JSON text
    Never,         // left to Python
}

impl Kind {
    pub fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "text" => Kind::Text,
            "int" => Kind::Int,
            "epoch" => Kind::Epoch,
            "real" => Kind::Real,
            "flag" => Kind::Flag,
            "enum" => Kind::Enum,
            "tag" => Kind::Tag,
            "mac" => Kind::Mac,
            "time" => Kind::Time,
            "mccmnc" => Kind::MccMnc,
            "degrees" => Kind::Degrees,
            "object" => Kind::Object,
            "json_object" => Kind::JsonObject,
            "json_scalar" => Kind::JsonScalar,
            "json_int_or_text" => Kind::JsonIntOrText,
            "never" => Kind::Never,
            _ => return None,
        })
    }

    /// The type of the columns that such values go to.
    pub fn column(self) -> Option<Type> {
        match self {
            Kind::Int | Kind::Epoch | Kind::Time => Some(Type::Int),
            Kind::Real | Kind::Degrees => Some(Type::Real),
            Kind::Flag => Some(Type::Flag),
            Kind::Object | Kind::Never => None,
            _ => Some(Type::Text),
        }
    }
}

pub struct Field {
    pub quoted: Vec<u8>, // "name":
    head: [u64; 4],      // its first 32 bytes,
    mask: [u64; 4],      // and which of them count
    pub kind: Kind,
    pub column: usize,
    pub nullable: bool,
    pub empty: bool,   // whether a text may be empty
    pub object: usize, // of Kind::Object
    pub values: Vec<(Vec<u8>, usize)>, // of Kind::Enum and Kind::Tag: with the form that each tells
    pub least: i64,
    pub most: i64,
    pub least_real: f64,
    pub most_real: f64,
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut out = [0; 4];
    for (word, chunk) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().rev().fold(0, |w, &byte| w << 8 | u64::from(byte));
    }
    out
}

impl Field {
    pub fn key(&mut self, wire: &str) {
        self.quoted = format!("\"{wire}\":").into_bytes();
        let (mut head, mut mask) = ([0u8; 32], [0u8; 32]);
        for (i, &byte) in self.quoted.iter().take(32).enumerate() {
            head[i] = byte;
            mask[i] = 0xFF;
        }
        self.head = words(&head);
        self.mask = words(&mask);
    }

    pub fn new(kind: Kind) -> Field {
        Field {
            quoted: Vec::new(),
            head: [0; 4],
            mask: [0; 4],
            kind,
            column: usize::MAX,
            nullable: false,
            empty: true,
            object: 0,
            values: Vec::new(),
            least: i64::MIN,
            most: i64::MAX,
            least_real: f64::NEG_INFINITY,
            most_real: f64::INFINITY,
        }
    }

    pub fn wire(&self) -> &[u8] {
        &self.quoted[1..self.quoted.len() - 2]
    }

    /// Whether the quoted name and its colon stand at `p`.
    #[inline(always)]
    pub fn stands_at(&self, b: &[u8], p: usize) -> bool {
        let size = self.quoted.len();
        if size <= 32 {
            if let Some(chunk) = b.get(p..).and_then(|rest| rest.first_chunk::<32>()) {
                let mut differ = 0;
                for i in 0..4 {
                    let word = u64::from_le_bytes([
                        chunk[8 * i],
                        chunk[8 * i + 1],
                        chunk[8 * i + 2],
                        chunk[8 * i + 3],
                        chunk[8 * i + 4],
                        chunk[8 * i + 5],
                        chunk[8 * i + 6],
                        chunk[8 * i + 7],
                    ]);
                    differ |= (word ^ self.head[i]) & self.mask[i];
                }
                return differ == 0;
            }
        }
        b.get(p..).is_some_and(|rest| rest.starts_with(&self.quoted))
    }
}

/// One form of an object: bits are the numbers of fields.
pub struct Form {
    pub allowed: u64,
    pub required: u64,
    pub any_of: u64, // one of them at least; 0: does not matter
    pub copy: Option<(usize, usize)>, // a column's text to another one
    pub constant: Option<(usize, Vec<u8>)>, // a column's text
}

pub const MOST_FIELDS: usize = 64;
const SLOTS: usize = 256;

pub struct Object {
    pub fields: Vec<Field>,
    pub forms: Vec<Form>,
    pub wrapper: Option<usize>, // a field that may hold the whole object as text, alone
    slots: Vec<u8>,
}

fn hash(key: &[u8]) -> usize {
    let h = key.iter().fold(2_166_136_261u32, |h, &byte| (h ^ u32::from(byte)).wrapping_mul(16_777_619));
    (h ^ h >> 15) as usize % SLOTS
}

impl Object {
    pub fn new(fields: Vec<Field>, forms: Vec<Form>, wrapper: Option<usize>) -> Option<Object> {
        if fields.len() > MOST_FIELDS {
            return None;
        }
        let mut slots = vec![u8::MAX; SLOTS];
        for (number, field) in fields.iter().enumerate() {
            let mut slot = hash(field.wire());
            while slots[slot] != u8::MAX {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = number as u8;
        }
        Some(Object { fields, forms, wrapper, slots })
    }

    /// The field of that name.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let mut slot = hash(key);
        while self.slots[slot] != u8::MAX {
            let number = usize::from(self.slots[slot]);
            if self.fields[number].wire() == key {
                return Some(number);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }
}

pub struct Table {
    pub objects: Vec<Object>, // the event is the first, the envelope the last
    pub columns: Vec<Type>,
    pub hidden: usize, // as many of the first columns do not go out
    pub fleet: usize,
    pub received: usize,
    pub key: usize, // column that names the device
    pub moments: Moments,
    pub seconds_limit: i64,
    pub millis_limit: i64,
}

pub const EVENT: usize = 0;
