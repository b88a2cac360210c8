// What a plugin in JavaScript finds in its global scope, for editors and for tsc.
//
//   /// <reference path="tykjs.d.ts" />
//
// in a plugin's file, with this file beside it; docs/javascript.md tells where it is installed. Names are upstream's.

/** Texts by name. */
interface TykTexts {
  [name: string]: string;
}

/** Lists of texts by name. */
interface TykLists {
  [name: string]: string[];
}

/** Ends the request with an answer. Set ResponseCode, and what goes with it. */
interface TykReturnOverrides {
  /** Below 1: the request goes on. From 400 on the answer is JSON with the error, unless OverrideError is set. */
  ResponseCode: number;
  /** Wins over ResponseBody where it is not empty. */
  ResponseError: string;
  ResponseBody: string;
  ResponseHeaders: TykTexts;
  /** The body is sent as it is, whatever the code. */
  OverrideError: boolean;
}

interface TykRequest {
  /** As they came; what a hook writes here has no effect. See SetHeaders and DeleteHeaders. */
  readonly Headers: TykLists;
  SetHeaders: TykTexts;
  DeleteHeaders: string[];
  Body: string;
  /** Path and query. */
  URL: string;
  /** Of the query; see AddParams, ExtendedParams and DeleteParams. A virtual endpoint gets those of a form as well. */
  readonly Params: TykLists;
  AddParams: TykTexts;
  ExtendedParams: TykLists;
  DeleteParams: string[];
  ReturnOverrides: TykReturnOverrides;
  /** What was done to Body does not count. */
  IgnoreBody: boolean;
  Method: string;
  readonly RequestURI: string;
  /** "http" or "https". */
  readonly Scheme: string;
}

interface TykResponse {
  StatusCode: number;
  Body: string;
  /** As they came; see SetHeaders and DeleteHeaders. */
  readonly Headers: TykLists;
  SetHeaders: TykTexts;
  DeleteHeaders: string[];
}

interface TykAccessDefinition {
  api_name?: string;
  api_id?: string;
  versions?: string[];
  allowed_urls?: { url: string; methods: string[] }[];
}

/** A session, with the names of Tyk's JSON. Only a hook that authenticates may change it. */
interface TykSession {
  alias: string;
  allowance: number;
  rate: number;
  per: number;
  /** Unix seconds; 0 is never. */
  expires: number;
  quota_max: number;
  quota_renews: number;
  quota_remaining: number;
  quota_renewal_rate: number;
  access_rights: { [api_id: string]: TykAccessDefinition };
  org_id: string;
  oauth_client_id: string;
  is_inactive: boolean;
  apply_policies: string[];
  meta_data: { [name: string]: string };
  tags: string[];
  session_lifetime: number;
  [name: string]: any;
}

interface TykConfig {
  readonly OrgID: string;
  readonly APIID: string;
  /** That of the API's definition. */
  readonly config_data: any;
}

/** What is written to the session's metadata: upstream's SessionMeta. */
type TykMeta = { [name: string]: any } | null | undefined;

/** What ReturnData and its like give, for the gateway alone. */
interface TykReturned {
  readonly Request?: TykRequest;
  readonly Response?: TykResponse;
  readonly Session?: Partial<TykSession>;
  readonly SessionMeta?: TykMeta;
}

/** A hook: a global variable whose name the API's definition says. */
interface TykMiddleware {
  NewProcessRequest(callback: (request: TykRequest, session: TykSession, config: TykConfig) => TykReturned): void;
  NewProcessResponse(
    callback: (response: TykResponse, request: TykRequest, session: TykSession, config: TykConfig) => TykReturned,
  ): void;
  /** What a hook of a request returns. */
  ReturnData(request: TykRequest, meta?: TykMeta): TykReturned;
  /** What a hook that authenticates returns; session.meta_data.token is the key. */
  ReturnAuthData(request: TykRequest, session: Partial<TykSession>): TykReturned;
  /** What a hook of a response returns. */
  ReturnResponseData(response: TykResponse, meta?: TykMeta): TykReturned;
}

interface TykEvent {
  readonly Type: string;
  /** Message and OriginatingRequest, and what the event has besides. */
  readonly Meta: { Message?: string; OriginatingRequest?: string; [name: string]: any };
  readonly TimeStamp: string;
}

/** A handler of events: a global variable whose name the API's definition says. */
interface TykEventHandler {
  NewHandler(callback: (event: TykEvent, context: { APIID: string; OrgID: string }) => void): void;
}

declare const TykJS: {
  TykMiddleware: { NewMiddleware: new (configuration?: object) => TykMiddleware };
  TykEventHandlers: { NewEventHandler: new (configuration?: object) => TykEventHandler };
};

/** What a virtual endpoint, `function (request, session, config)`, returns. */
declare function TykJsResponse(
  response: { Code: number; Body?: string; Headers?: TykTexts },
  meta?: TykMeta,
): string;

/** Writes to the gateway's log. */
declare function log(message: any): void;
/** Writes to the gateway's log as it is. */
declare function rawlog(message: any): void;

declare function b64enc(text: string): string;
/** undefined for what is no base64. */
declare function b64dec(text: string): string | undefined;
/** Without padding. */
declare function rawb64enc(text: string): string;
declare function rawb64dec(text: string): string | undefined;

interface TykHttpRequest {
  Method?: string;
  /** Scheme and host: "https://example.org". */
  Domain: string;
  /** Path and query. */
  Resource?: string;
  Headers?: TykTexts;
  Body?: string;
  /** Sent as a form where there is no Body. */
  FormData?: TykTexts;
}

/** JSON {Code, Body, Headers: {name: [values]}}; undefined where there was no answer, and the log says why. */
declare function TykMakeHttpRequest(request: string | TykHttpRequest): string | undefined;

interface TykBatch {
  requests: { method?: string; headers?: TykTexts; body?: string; relative_url: string }[];
  suppress_parallel_execution?: boolean;
}

/** JSON [{relative_url, code, headers, body}] in the order of the requests; code is 0 where there was no answer. */
declare function TykBatchRequest(batch: string | TykBatch): string | undefined;

/** JSON: the session of a key, a TykSession, or {status: "error", message} for what is no key of the organisation. */
declare function TykGetKeyData(key: string, apiID?: string): string;
/** `session` is JSON. The key's quota begins anew unless `suppressReset` is 1. The log says why one was not stored. */
declare function TykSetKeyData(key: string, session: string, suppressReset?: string | number): void;

/** null for what is not there. Each of these throws where the store fails. */
declare function TykStorageGet(key: string): string | null;
/** `ttl` in seconds; 0 is for good. */
declare function TykStorageSet(key: string, value: string, ttl?: number): void;
/** Whether it was set: false where the key is there already. */
declare function TykStorageSetNX(key: string, value: string, ttl?: number): boolean;
declare function TykStorageDel(key: string): void;
/** Seconds; -1 for good, -2 for what is not there. */
declare function TykStorageTTL(key: string): number;
/** The number behind the addition of one; `ttl` counts where the key is new. */
declare function TykStorageIncr(key: string, ttl?: number): string;

/** Fires an event. tykbridge's own: Tyk's JavaScript has none. */
declare function TykTriggerEvent(name: string, payload?: string): void;

/** Underscore, for plugins that use it. */
declare const _: any;

declare const console: {
  log(...values: any[]): void;
  info(...values: any[]): void;
  debug(...values: any[]): void;
  warn(...values: any[]): void;
  error(...values: any[]): void;
};
