import { fieldNameAsRead } from './field.ts';

/**
 * Header fields that some servers take for the path, whatever the request line says: IIS with URL Rewrite or ISAPI Rewrite,
 * Symfony before CVE-2018-14773 and Zend (ZF2018-01); Spring (`X-Forwarded-Prefix`); gunicorn (`SCRIPT_NAME`, `PATH_INFO`);
 * services behind nginx, Traefik, Envoy and Azure, which name the path of the client so.
 */
const fieldNames = new Set([
  'x-original-url',
  'x-rewrite-url',
  'x-override-url',
  'x-original-uri',
  'x-rewrite-uri',
  'x-request-uri',
  'request-uri',
  'x-original-path',
  'x-envoy-original-path',
  'x-forwarded-path',
  'x-forwarded-prefix',
  'x-forwarded-uri',
  'x-forwarded-url',
  'x-replaced-path',
  'x-script-name',
  'script-name',
  'path-info',
  'x-waws-unencoded-url',
]);

/** Reports whether some servers take the header field for the path. */
export function overridesPath(fieldName: string): boolean {
  return fieldNames.has(fieldNameAsRead(fieldName));
}
