//! What customers send (IN).
