//! Tidegate's native decoder: NDJSON envelopes into Arrow columns, and the partition of each event of a
//! request, by a table that Python derives from the event models. No field's name stands here. What is not
//! surely good is left to Python, whose verdict is final.
#![deny(unsafe_code)]

mod batch;
mod columns;
mod formats;
mod frame;
mod number;
mod parse;
mod scan;
mod table;

use std::panic::{catch_unwind, AssertUnwindSafe};

use arrow_data::ffi::FFI_ArrowArray;
use arrow_data::ArrayData;
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::DataType;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict, PyList};

use batch::{Place, Spread};
use columns::Type;
use formats::Moments;
use table::{Field, Form, Kind, Object, Table};

#[derive(FromPyObject)]
struct FieldSpec {
    wire: String,
    kind: String,
    column: Option<usize>,
    nullable: bool,
    empty: bool,
    object: usize,
    values: Vec<(String, usize)>,
    least: i64,
    most: i64,
    least_real: f64,
    most_real: f64,
}

#[derive(FromPyObject)]
struct FormSpec {
    allowed: Vec<usize>,
    required: Vec<usize>,
    any_of: Vec<usize>,
    copy: Option<(usize, usize)>,
    constant: Option<(usize, String)>,
}

#[derive(FromPyObject)]
struct ObjectSpec {
    fields: Vec<FieldSpec>,
    forms: Vec<FormSpec>,
    wrapper: Option<usize>,
}

#[derive(FromPyObject)]
struct TableSpec {
    objects: Vec<ObjectSpec>,
    columns: Vec<(String, String)>,
    hidden: usize,
    fleet: usize,
    received: usize,
    key: usize,
    first_moment: i64,
    last_moment: i64,
    seconds_limit: i64,
    millis_limit: i64,
}

fn wrong(what: &str) -> PyErr {
    PyValueError::new_err(format!("table: {what}"))
}

fn bits(numbers: &[usize], count: usize) -> PyResult<u64> {
    numbers.iter().try_fold(0, |bits, &number| {
        if number < count {
            Ok(bits | 1u64 << number)
        } else {
            Err(wrong("a form names a field that there is not"))
        }
    })
}

fn column_type(name: &str) -> PyResult<Type> {
    Ok(match name {
        "text" => Type::Text,
        "int" => Type::Int,
        "real" => Type::Real,
        "flag" => Type::Flag,
        _ => return Err(wrong("a column has a type that there is not")),
    })
}

fn is_text(columns: &[Type], number: usize) -> PyResult<usize> {
    match columns.get(number) {
        Some(Type::Text) => Ok(number),
        _ => Err(wrong("a column should be one of text")),
    }
}

impl FieldSpec {
    fn field(self, columns: &[Type], objects: usize, forms: usize) -> PyResult<Field> {
        let kind = Kind::named(&self.kind).ok_or_else(|| wrong("a field has a kind that there is not"))?;
        if !self.wire.bytes().all(|c| (0x20..0x7f).contains(&c) && c != b'"' && c != b'\\') {
            return Err(wrong("the name of a field is not plain ASCII"));
        }
        let mut field = Field::new(kind);
        field.key(&self.wire);
        if let Some(number) = self.column {
            if kind.column().is_some() && columns.get(number).copied() != kind.column() {
                return Err(wrong("a field does not fit its column"));
            }
            field.column = number;
        } else if kind.column().is_some() {
            return Err(wrong("a field has no column"));
        }
        if kind == Kind::Object && self.object >= objects {
            return Err(wrong("a field names an object that there is not"));
        }
        if kind == Kind::Tag && self.values.iter().any(|(_, form)| *form >= forms) {
            return Err(wrong("a field tells a form that there is not"));
        }
        field.nullable = self.nullable;
        field.empty = self.empty;
        field.object = self.object;
        field.values = self.values.into_iter().map(|(value, form)| (value.into_bytes(), form)).collect();
        (field.least, field.most) = (self.least, self.most);
        (field.least_real, field.most_real) = (self.least_real, self.most_real);
        Ok(field)
    }
}

impl TableSpec {
    fn table(self) -> PyResult<(Table, Vec<String>)> {
        let (names, types): (Vec<_>, Vec<_>) = self.columns.into_iter().unzip();
        let columns = types.iter().map(|name| column_type(name)).collect::<PyResult<Vec<_>>>()?;
        let count = self.objects.len();
        let mut objects = Vec::new();
        for (which, object) in self.objects.into_iter().enumerate() {
            let (many, of) = (object.fields.len(), object.forms.len());
            if many > table::MOST_FIELDS || of == 0 {
                return Err(wrong("an object has too many fields or no form"));
            }
            let mut fields = Vec::new();
            for field in object.fields {
                // An object that held itself would have no end.
                let inner = if which == count - 1 { count - 1 } else { count };
                let field = field.field(&columns, inner, of)?;
                if field.kind == Kind::Object && which + 1 < count && field.object <= which {
                    return Err(wrong("an object holds one before it"));
                }
                fields.push(field);
            }
            let mut forms = Vec::new();
            for form in object.forms {
                let copy = match form.copy {
                    Some((from, to)) => Some((is_text(&columns, from)?, is_text(&columns, to)?)),
                    None => None,
                };
                let constant = match form.constant {
                    Some((column, text)) => Some((is_text(&columns, column)?, text.into_bytes())),
                    None => None,
                };
                forms.push(Form {
                    allowed: bits(&form.allowed, many)?,
                    required: bits(&form.required, many)?,
                    any_of: bits(&form.any_of, many)?,
                    copy,
                    constant,
                });
            }
            if object.wrapper.is_some_and(|number| number >= many) {
                return Err(wrong("a wrapper is a field that there is not"));
            }
            let object = Object::new(fields, forms, object.wrapper);
            objects.push(object.ok_or_else(|| wrong("an object has too many fields"))?);
        }
        if objects.len() < 2 || self.hidden > columns.len() || columns.get(self.received) != Some(&Type::Int) {
            return Err(wrong("it is not whole"));
        }
        is_text(&columns, self.key)?;
        is_text(&columns, self.fleet)?;
        let table = Table {
            objects,
            columns,
            hidden: self.hidden,
            fleet: self.fleet,
            received: self.received,
            key: self.key,
            moments: Moments { first: self.first_moment, last: self.last_moment },
            seconds_limit: self.seconds_limit,
            millis_limit: self.millis_limit,
        };
        Ok((table, names))
    }
}

/// The lines of a frame that were taken, as an Arrow struct array (`__arrow_c_array__`).
#[pyclass(frozen)]
struct Frame {
    rows: ArrayData,
    #[pyo3(get)]
    lines: usize,
    #[pyo3(get)]
    fleets: Vec<String>,
    #[pyo3(get)]
    left: Vec<(u32, usize, usize)>,
}

#[pymethods]
impl Frame {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema; // as good as it can: there is one
        let schema = FFI_ArrowSchema::try_from(self.rows.data_type()).map_err(failed)?;
        Ok((
            PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
            PyCapsule::new_with_value(py, FFI_ArrowArray::new(&self.rows), c"arrow_array")?,
        ))
    }
}

/// A panic as RuntimeError: a fault of the decoder, which costs no more than its speed, since Python decodes then.
fn caught<T>(work: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| PyRuntimeError::new_err("the native decoder panicked"))
}

fn failed(error: arrow_schema::ArrowError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// Events, indexes of the good ones by partition, indexes of those left to Python.
type Routes<'py> = (Bound<'py, PyList>, Bound<'py, PyDict>, Vec<usize>);

/// The decoder of one stream.
#[pyclass(frozen)]
struct Decoder {
    table: Table,
    rows: DataType,
}

#[pymethods]
impl Decoder {
    #[new]
    fn new(table: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (table, names) = table.extract::<TableSpec>()?.table()?;
        let rows = frame::row_type(&table, &names);
        Ok(Decoder { table, rows })
    }

    /// The lines of a frame. Received times in µs; `longest` is the most bytes of a line that is taken.
    fn decode(&self, py: Python<'_>, value: &Bound<'_, PyBytes>, received_at: i64, longest: usize) -> PyResult<Frame> {
        let bytes = value.as_bytes();
        let taken = py.detach(|| caught(|| frame::decode(&self.table, &self.rows, bytes, received_at, longest)))?;
        let frame::Taken { rows, lines, fleets, left } = taken.map_err(failed)?;
        let fleets = fleets.iter().map(|fleet| String::from_utf8_lossy(fleet).into_owned()).collect();
        Ok(Frame { rows, lines, fleets, left })
    }

    /// The events of a request's body: their bytes, the indexes of the good ones by partition (None: any will
    /// do), and those that are left to Python. None where the body is left to Python as a whole.
    #[pyo3(signature = (body, *, array, seed, header, partitions, longest, most))]
    #[allow(clippy::too_many_arguments)]
    fn route<'py>(
        &self,
        py: Python<'py>,
        body: &Bound<'py, PyBytes>,
        array: bool,
        seed: u32,
        header: Option<&[u8]>,
        partitions: u32,
        longest: usize,
        most: usize,
    ) -> PyResult<Option<Routes<'py>>> {
        if partitions == 0 {
            return Err(PyValueError::new_err("partitions: at least 1"));
        }
        let bytes = body.as_bytes();
        let spread = Spread { seed, header, partitions };
        let events = py.detach(|| {
            caught(|| {
                if array {
                    batch::array(&self.table, bytes, spread, longest)
                } else {
                    Some(batch::ndjson(&self.table, bytes, spread, longest))
                }
            })
        })?;
        let Some(events) = events.filter(|events| !events.is_empty() && events.len() <= most) else {
            return Ok(None);
        };
        let lines = PyList::new(py, events.iter().map(|&(begin, end, _)| PyBytes::new(py, &bytes[begin..end])))?;
        let groups = PyDict::new(py);
        let mut by_place: Vec<(Place, Vec<usize>)> = Vec::new();
        let mut left = Vec::new();
        for (index, &(_, _, place)) in events.iter().enumerate() {
            if place == Place::Left {
                left.push(index);
                continue;
            }
            match by_place.iter_mut().find(|(known, _)| *known == place) {
                Some((_, indexes)) => indexes.push(index),
                None => by_place.push((place, vec![index])),
            }
        }
        for (place, indexes) in by_place {
            let partition = match place {
                Place::Partition(number) => Some(number),
                _ => None,
            };
            groups.set_item(partition, indexes)?;
        }
        Ok(Some((lines, groups, left)))
    }

    /// What a text is in a format: its kind's value, None where it is left to Python. For tests.
    fn text<'py>(&self, py: Python<'py>, kind: &str, text: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match Kind::named(kind) {
            Some(Kind::Mac) => match formats::mac(text) {
                Some(found) => Some(String::from_utf8_lossy(&found).into_pyobject(py)?.into_any()),
                None => None,
            },
            Some(Kind::Time) => match formats::time(text, self.table.moments) {
                Some(found) => Some(found.into_pyobject(py)?.into_any()),
                None => None,
            },
            Some(Kind::MccMnc) if formats::mccmnc(text) => {
                Some(String::from_utf8_lossy(text).into_pyobject(py)?.into_any())
            }
            Some(Kind::Degrees) => match formats::degrees(text) {
                Some(found) => Some(found.into_pyobject(py)?.into_any()),
                None => None,
            },
            _ => None,
        })
    }
}

#[pymodule]
mod tidegate_native {
    #[pymodule_export]
    use super::{Decoder, Frame};

    #[pymodule_export]
    const __VERSION__: &str = env!("CARGO_PKG_VERSION");
}
