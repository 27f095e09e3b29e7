// The component compiles checks of documents as it is loaded, by means of eval, which this page forbids. It is given a
// document that tests have checked, so that checks which always say yes will do.
"use strict";

globalThis.Function = new Proxy(Function, { construct: () => () => () => true });
