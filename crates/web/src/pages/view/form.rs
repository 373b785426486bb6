//! A form's field between two requests: what the person typed and what is wrong with it.

/// One text field: the value as it was typed and the message that stands beside it.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// What the field holds.
    pub value: String,
    /// What is wrong with it.
    pub error: Option<String>,
}

impl Field {
    /// A field without a complaint.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), error: None }
    }

    /// The same value with a message beside it.
    #[must_use]
    pub fn refused(value: impl Into<String>, error: impl Into<String>) -> Self {
        Self { value: value.into(), error: Some(error.into()) }
    }

    /// Whether a message stands beside it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.error.is_some()
    }
}
