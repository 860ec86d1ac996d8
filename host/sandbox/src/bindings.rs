//! Generated from `wit/`: one module for each world, all sharing the types of the first.
//!
//! A new major of the interface gets a module of its own beside these; the old one is then converted.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "minimal",
    imports: { default: async | trappable },
    exports: { default: async },
    require_store_data_send: true,
});

pub mod lifecycle {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "with-lifecycle",
        with: { "mantle:connector": super::mantle::connector },
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub mod inbound_media {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "with-inbound-media",
        with: { "mantle:connector": super::mantle::connector },
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub mod reconcile {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "with-reconcile",
        with: { "mantle:connector": super::mantle::connector },
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub mod profile {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "with-profile",
        with: { "mantle:connector": super::mantle::connector },
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub mod templates {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "with-templates",
        with: { "mantle:connector": super::mantle::connector },
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}
